package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// CloudEvent is version 1.0 of CloudEvents in structured mode.
type CloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`     // the same for each attempt and each target: BUILD.SEQ
	Source          string    `json:"source"` // the project's address on this server
	Type            string    `json:"type"`
	Subject         string    `json:"subject"` // PROJECT/NUMBER
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            ci.Notice `json:"data"`
}

// eventType makes a type of CloudEvents of one of ours.
const eventType = "com.github.sluice-ci.sluice."

// event is a notice as a CloudEvent.
func (n *Notifier) event(d ci.Delivery) CloudEvent {
	notice := d.Notice
	e := CloudEvent{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s.%d", notice.Build, notice.Seq), Type: eventType + string(notice.Event),
		Source: n.cfg.URL() + "/projects/" + url.PathEscape(notice.Project), Subject: fmt.Sprintf("%s/%d", notice.Project, notice.Number),
		Time: notice.Time.UTC(), DataContentType: "application/json", Data: notice,
	}
	if notice.Test {
		e.ID, e.Type = fmt.Sprintf("test.%d", notice.Time.UnixNano()), eventType+"test"
	}
	return e
}

// SignatureHeader carries "t=SECONDS,v1=HEX": when it was signed, and the
// HMAC-SHA256 of "SECONDS.BODY" under the target's key.
const SignatureHeader = "Sluice-Signature"

// Sign makes the value of SignatureHeader.
func Sign(key string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

func (n *Notifier) webhook(ctx context.Context, t ci.Target, key string, d ci.Delivery) error {
	body, err := json.Marshal(n.event(d))
	if err != nil {
		return &Hopeless{fmt.Errorf("encode: %w", err)}
	}
	header := http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}
	if key != "" {
		header.Set(SignatureHeader, Sign(key, n.cfg.Now(), body))
	}
	header.Set("Sluice-Delivery", strconv.FormatInt(d.ID, 10))
	header.Set("Sluice-Attempt", strconv.Itoa(d.Attempts+1))
	return n.post(ctx, t.URL, header, body)
}

// post sends a body and takes any 2xx for a yes. The address is not part of
// errors: of a chat it is the password.
func (n *Notifier) post(ctx context.Context, to string, header http.Header, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return &Hopeless{errors.New("the address is not one that can be sent to")}
	}
	req.Header = header
	req.Header.Set("User-Agent", "sluice")
	resp, err := n.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return err
	}
	defer resp.Body.Close()
	const most = 4 << 10 // of an answer that nobody but a person reads
	text, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return &refusal{status: resp.StatusCode, text: string(text), after: resp.Header.Get("Retry-After")}
}

// refusal is an answer that is not a yes.
type refusal struct {
	status      int
	text, after string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("the answer was %d %s", r.status, http.StatusText(r.status))
	if r.status/100 == 3 {
		text += "; redirects are not followed: give the target the address that it leads to"
	}
	const most = 200
	said := strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(r.text, "\uFFFD"))), " ")
	if runes := []rune(said); len(runes) > most {
		said = string(runes[:most]) + "…"
	}
	if said != "" {
		text += ": " + said
	}
	return text
}

// longestAfter bounds what a receiver may ask for.
const longestAfter = time.Hour

// retryAfter is how long the receiver wants to be left alone.
func retryAfter(err error) time.Duration {
	var r *refusal
	if !errors.As(err, &r) {
		return 0
	}
	if s, err := strconv.ParseUint(r.after, 10, 16); err == nil {
		return min(time.Duration(s)*time.Second, longestAfter)
	}
	return 0
}
