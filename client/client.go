package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const prefix = "/api/v1"

// Client speaks to one server as one user. Its methods are safe from several goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	retry Retry
}

// Retry says how a broken stream is taken up again.
type Retry struct {
	First time.Duration // pause before the second attempt; twice as long before each further one
	Most  time.Duration // the longest pause
	// Attempts is how often in a row connecting may fail before the stream fails;
	// each byte or event that came begins the count anew.
	Attempts int
	// Silence is how long nothing may come of a stream of events, on which the
	// server gives signs of life, before its connection counts as broken.
	Silence time.Duration
}

// Option changes a client.
type Option func(*Client)

// WithHTTP has the client use another http.Client: for certificates, proxies,
// sockets. A Timeout in it would also end streams.
func WithHTTP(c *http.Client) Option { return func(to *Client) { to.http = c } }

// WithRetry has streams taken up again in another way than usual (250 ms to 10 s,
// 12 attempts, one minute of silence).
func WithRetry(r Retry) Option { return func(to *Client) { to.retry = r } }

// New makes a client of the server at a URL such as "http://127.0.0.1:7700".
func New(server, token string, options ...Option) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(server, "/"))
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("address of the server %q: want http://HOST:PORT or https://HOST", server)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("address of the server %q: want nothing but scheme, host and path", u.Redacted())
	}
	c := &Client{
		base: u, token: token, http: http.DefaultClient,
		retry: Retry{First: 250 * time.Millisecond, Most: 10 * time.Second, Attempts: 12, Silence: time.Minute},
	}
	for _, o := range options {
		o(c)
	}
	return c, nil
}

// Error is what the server said no with.
type Error struct {
	Status   int     `json:"status"` // of HTTP
	Code     string  `json:"code"`   // for programs: not_found, invalid, denied, conflict, changed, unauthenticated, unavailable, internal, …
	Title    string  `json:"title"`
	Detail   string  `json:"detail"`
	Help     string  `json:"help"`   // what to do next
	Fields   []Field `json:"errors"` // what is wrong with the request
	Incident string  `json:"incident"`

	after time.Duration // when to try again; 0 = it was not said
}

// Field is one thing wrong with a request.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is the server's words: what happened, and what to do next.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Title)
	if e.Detail != "" {
		b.Reset()
		b.WriteString(e.Detail)
	}
	for _, f := range e.Fields {
		if !strings.Contains(e.Detail, f.Message) {
			fmt.Fprintf(&b, "\n  %s: %s", f.Field, f.Message)
		}
	}
	if e.Incident != "" {
		fmt.Fprintf(&b, " (incident %s)", e.Incident)
	}
	if e.Help != "" {
		b.WriteString("; " + e.Help)
	}
	return b.String()
}

// IsNotFound says whether err is the server's that there is no such thing.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// request describes one.
type request struct {
	method string
	path   string // below the prefix, escaped
	query  url.Values
	header http.Header
	body   any

	stream io.Reader // a body that is not JSON, of size bytes
	size   int64
}

// at makes a path of segments, escaping each.
func at(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// below makes a path of a path, which keeps its slashes.
func below(path string) string { return at(strings.Split(path, "/")...) }

func buildAt(project string, number int64) string {
	return at("projects", project, "builds", strconv.FormatInt(number, 10))
}

// Limits of patience with a server that says that there were too many requests.
const (
	mostWaits = 10
	mostWait  = time.Minute
)

// send sends a request. An answer that says no comes as *Error. Where the server
// says that there were too many, it is sent again when the server says so; but not
// a login, which somebody waits for.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	for waits := 0; ; waits++ {
		resp, err := c.sendOnce(ctx, r)
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || waits == mostWaits || e.after > mostWait || r.stream != nil || strings.HasPrefix(r.path, "/login") || strings.HasSuffix(r.path, "/password") {
			return resp, err
		}
		// A little more, so that all who wait do not come at once.
		t := time.NewTimer(e.after + rand.N(e.after/4+time.Millisecond))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

func (c *Client) sendOnce(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	target := c.base.String() + prefix + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	if r.stream != nil {
		body = r.stream
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if r.stream != nil {
		req.ContentLength = r.size
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

// mostError is how much of an error's text is read.
const mostError = 256 << 10

func readError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, mostError)) // what came of it must do
	e := &Error{}
	if json.Unmarshal(text, e) != nil || e.Code == "" {
		e = &Error{Code: "error_" + strconv.Itoa(resp.StatusCode), Title: resp.Status,
			Detail: fmt.Sprintf("%s: the answer is not one of a Sluice server; look at the address", resp.Status)}
	}
	e.Status = resp.StatusCode
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.after = time.Duration(seconds) * time.Second
	}
	return e
}

// call sends a request and reads its answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, r request, out any) (*http.Response, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mostError)) // so that the connection can be used again
	return resp, nil
}

// pause waits before an attempt: longer each time, and not as long as others do.
func (c *Client) pause(ctx context.Context, failed int) error {
	d := c.retry.First << min(failed-1, 16)
	if d > c.retry.Most || d <= 0 {
		d = c.retry.Most
	}
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// final says whether trying again cannot help.
func final(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests
}
