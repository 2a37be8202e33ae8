package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// LogOptions say what of a log is wanted.
type LogOptions struct {
	From   int64 // byte from which on
	Follow bool  // wait for more until the end
	All    bool  // of a whole build: also headings, and what Sluice itself did
}

func (o LogOptions) query(from int64) url.Values {
	q := url.Values{}
	if from > 0 {
		q.Set("from", strconv.FormatInt(from, 10))
	}
	if o.Follow {
		q.Set("follow", "true")
	}
	if o.All {
		q.Set("all", "true")
	}
	return q
}

// Log reads the log of a build: the output of its commands, in order. A
// connection that breaks is taken up again where it broke.
func (c *Client) Log(ctx context.Context, project string, number int64, o LogOptions) (io.ReadCloser, error) {
	return c.openLog(ctx, buildAt(project, number)+"/log", o)
}

// StepLog reads the log of one step, by its path: "build/BUILD/0". It is as Log.
func (c *Client) StepLog(ctx context.Context, project string, number int64, step string, o LogOptions) (io.ReadCloser, error) {
	o.All = false
	return c.openLog(ctx, buildAt(project, number)+"/log"+below(step), o)
}

// openLog connects once, so that what cannot be is known at once.
func (c *Client) openLog(ctx context.Context, path string, o LogOptions) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &logReader{c: c, ctx: ctx, cancel: cancel, path: path, opt: o, at: o.From}
	if err := l.connect(); err != nil && (final(ctx, err) || l.again(err) != nil) {
		cancel()
		return nil, err
	}
	return l, nil
}

// logReader reads a log over as many connections as it takes.
type logReader struct {
	c      *Client
	ctx    context.Context // of the whole reading; Close ends it
	cancel context.CancelFunc
	path   string
	opt    LogOptions
	at     int64 // byte that comes next
	body   io.ReadCloser
	failed int // attempts in a row
	done   error
}

func (l *logReader) connect() error {
	resp, err := l.c.send(l.ctx, request{method: http.MethodGet, path: l.path, query: l.opt.query(l.at)})
	if err != nil {
		return err
	}
	l.body = resp.Body
	return nil
}

// again waits until it is time for another attempt, or says that there is none.
func (l *logReader) again(err error) error {
	l.drop()
	if final(l.ctx, err) {
		return err
	}
	if l.failed++; l.failed >= l.c.retry.Attempts {
		return fmt.Errorf("the log broke off at byte %d, and %d attempts to go on failed: %w", l.at, l.failed, err)
	}
	return l.c.pause(l.ctx, l.failed)
}

func (l *logReader) drop() {
	if l.body != nil {
		_ = l.body.Close() // it was only read
		l.body = nil
	}
}

// Read reads; it waits where the log is followed.
func (l *logReader) Read(p []byte) (int, error) {
	for l.done == nil {
		var err error
		if l.body == nil {
			err = l.connect()
		}
		if err == nil {
			var n int
			n, err = l.body.Read(p)
			if n > 0 {
				l.at += int64(n)
				l.failed = 0
				return n, nil // what came with it comes again at the next Read
			}
			if err == nil {
				continue
			}
			if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				l.done = io.EOF
				break
			}
		}
		if l.ctx.Err() != nil {
			l.done = context.Cause(l.ctx)
			break
		}
		l.done = l.again(err)
	}
	l.drop()
	return 0, l.done
}

// Close ends the reading. It may be called while a Read waits.
func (l *logReader) Close() error {
	l.cancel()
	return nil
}

// Events calls f with each event of a build behind number after (0 = all), in
// order, until the build is done. An error of f ends it, and is the answer. A
// connection that breaks is taken up again where it broke.
func (c *Client) Events(ctx context.Context, project string, number, after int64, f func(Event) error) error {
	last := ""
	if after > 0 {
		last = strconv.FormatInt(after, 10)
	}
	return c.sse(ctx, buildAt(project, number)+"/events", nil, last, func(_ string, data []byte) error {
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if e.Seq <= after {
			return nil
		}
		after = e.Seq
		return f(e)
	})
}

// sse calls f with the data of each event of a stream behind the one with the id
// last, until the stream says that it is at its end.
func (c *Client) sse(ctx context.Context, path string, query url.Values, last string, f func(name string, data []byte) error) error {
	for failed := 0; ; {
		before := last
		ended, err := c.events(ctx, request{method: http.MethodGet, path: path, query: query}, &last, f)
		var mine *callerError
		switch {
		case errors.As(err, &mine):
			return mine.err
		case ended:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final(ctx, err):
			return err
		}
		if last != before {
			failed = 0
		}
		if failed++; failed >= c.retry.Attempts {
			return fmt.Errorf("the stream broke off behind %q, and %d attempts to go on failed: %w", last, failed, err)
		}
		if err := c.pause(ctx, failed); err != nil {
			return err
		}
	}
}

// callerError is an error of the caller's own function.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }

// events reads one connection's events, and keeps in last the id of the newest.
func (c *Client) events(ctx context.Context, req request, last *string, f func(name string, data []byte) error) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req.header = http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		req.header.Set("Last-Event-ID", *last)
	}
	quiet := time.AfterFunc(c.retry.Silence, cancel)
	defer quiet.Stop()
	resp, err := c.send(ctx, req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for {
		e, err := readEvent(r, func() { quiet.Reset(c.retry.Silence) })
		if err != nil {
			return false, fmt.Errorf("read events: %w", err)
		}
		if e.name == "end" {
			return true, nil
		}
		quiet.Stop() // the caller may take its time
		if err := f(e.name, e.data); err != nil {
			return false, &callerError{err}
		}
		quiet.Reset(c.retry.Silence)
		*last = e.id
	}
}

// mostEvent is the biggest event that is read.
const mostEvent = 64 << 20

// serverEvent is one server-sent event.
type serverEvent struct {
	id, name string
	data     []byte
}

// readEvent reads one server-sent event, passing over comments. alive is called
// for each line.
func readEvent(r *bufio.Reader, alive func()) (e serverEvent, err error) {
	for {
		line, err := readLine(r)
		if err != nil {
			return serverEvent{}, err
		}
		alive()
		switch field, value, _ := strings.Cut(string(line), ":"); {
		case len(line) == 0:
			if e.data != nil {
				return e, nil
			}
			e.name = ""
		case field == "event":
			e.name = strings.TrimPrefix(value, " ")
		case field == "id":
			e.id = strings.TrimPrefix(value, " ")
		case field == "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, strings.TrimPrefix(value, " ")...)
		}
		if len(e.data) > mostEvent {
			return serverEvent{}, fmt.Errorf("an event has more than %d bytes", mostEvent)
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > mostEvent {
			return nil, fmt.Errorf("a line has more than %d bytes", mostEvent)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the end is an event of its own
		}
		return bytes.TrimRight(line, "\r\n"), err
	}
}
