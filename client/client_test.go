package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", "slu_x", WithHTTP(s.Client()), WithRetry(Retry{First: time.Millisecond, Most: 2 * time.Millisecond, Attempts: 4, Silence: 20 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "localhost:7700", "ftp://x", "http://", "http://u:secret@x", "http://x?a=b", "http://x#y", "http://x\x00"} {
		_, err := New(url, "")
		if err == nil {
			t.Errorf("%q was taken", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, code, text string }{
		{`{"code":"invalid","title":"Unprocessable Entity","detail":"no","help":"mend it","errors":[{"field":"body.name","message":"is missing"}],"status":1}`, "invalid", "no\n  body.name: is missing; mend it"},
		{`{"code":"internal","title":"Oops","incident":"I7"}`, "internal", "Oops (incident I7)"},
		{`<html>gateway</html>`, "error_422", "422 Unprocessable Entity: the answer is not one of a Sluice server; look at the address"},
		{``, "error_422", "not one of a Sluice server"},
	} {
		cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(422)
			_, _ = io.WriteString(w, c.body)
		})
		_, err := cl.Project(t.Context(), "x")
		var e *Error
		if !errors.As(err, &e) || e.Status != 422 || e.Code != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s: %s", c.body, err, c.code, c.text)
		}
	}
}

// TestPaths looks at what goes out: segments are escaped, the token is there.
func TestPaths(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Method + " " + r.RequestURI + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Idempotency-Key"))
		_, _ = io.WriteString(w, "{}")
	})
	for _, c := range []struct {
		do   func() error
		want string
	}{
		{func() error { _, err := cl.Project(t.Context(), "a/../b?c"); return err }, "GET /api/v1/projects/a%2F..%2Fb%3Fc Bearer slu_x "},
		{func() error {
			_, err := cl.OpenArtifact(t.Context(), "p", 3, "build#2/a b/c.txt")
			return err
		}, "GET /api/v1/projects/p/builds/3/artifacts/build%232/a%20b/c.txt Bearer slu_x "},
		{func() error { _, _, err := cl.RetryBuild(t.Context(), "p", 3, RetryOptions{Key: "k"}); return err }, "POST /api/v1/projects/p/builds/3/retry Bearer slu_x k"},
		{func() error {
			_, err := cl.Builds(t.Context(), BuildFilter{Project: "p", Status: []string{Failed, Errored}, Paging: Paging{Limit: 3}})
			return err
		}, "GET /api/v1/projects/p/builds?limit=3&status=failed%2Cerrored Bearer slu_x "},
		{func() error { _, err := cl.PutUser(t.Context(), User{Name: "a/b@c"}); return err }, "PUT /api/v1/users/a%2Fb@c Bearer slu_x "},
		{func() error { _, err := cl.Tokens(t.Context(), "*"); return err }, "GET /api/v1/tokens?user=%2A Bearer slu_x "},
		{func() error { return cl.RevokeToken(t.Context(), "a?b") }, "DELETE /api/v1/tokens/a%3Fb Bearer slu_x "},
	} {
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.want, err)
		}
		if got.Load() != c.want {
			t.Errorf("got %s, want %s", got.Load(), c.want)
		}
	}
}

// TestGivesUp has a server that never comes back, and one that says no for good.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	away := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	err := away.Events(t.Context(), "p", 1, 0, func(Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "4 attempts") || asked.Load() != 4 {
		t.Errorf("got %v after %d requests, want it given up after 4", err, asked.Load())
	}
	asked.Store(0)
	r, err := away.Log(t.Context(), "p", 1, LogOptions{})
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if err == nil || !strings.Contains(err.Error(), "4 attempts") || asked.Load() != 4 {
		t.Errorf("log: got %v after %d requests, want it given up after 4", err, asked.Load())
	}
	asked.Store(0)
	denied := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	})
	if err := denied.Events(t.Context(), "p", 1, 0, func(Event) error { return nil }); err == nil || asked.Load() != 1 {
		t.Errorf("got %v after %d requests, want no second attempt", err, asked.Load())
	}
	if _, err := denied.Log(t.Context(), "p", 1, LogOptions{}); err == nil || asked.Load() != 2 {
		t.Errorf("log: got %v after %d requests, want no second attempt", err, asked.Load())
	}
}

// TestSilence has a connection on which nothing comes any more: it is left for another.
func TestSilence(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			_, _ = io.WriteString(w, "id: 1\nevent: a\ndata: {\"seq\":1}\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		if got := r.Header.Get("Last-Event-ID"); got != "1" {
			t.Errorf("got Last-Event-ID %q, want 1", got)
		}
		_, _ = io.WriteString(w, ": alive\n\nid: 1\ndata: {\"seq\":1}\n\nid: 2\r\ndata: {\"seq\":\ndata: 2}\r\n\r\nevent: end\ndata: {}\n\n")
	})
	cl.retry.Silence = 300 * time.Millisecond
	var seqs []int64
	err := cl.Events(t.Context(), "p", 1, 0, func(e Event) error { seqs = append(seqs, e.Seq); return nil })
	if err != nil || len(seqs) != 2 || seqs[1] != 2 {
		t.Errorf("got events %v, %v; want 1 and 2, each once", seqs, err)
	}
}

func TestCallerEnds(t *testing.T) {
	t.Parallel()
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "data: {\"seq\":1}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mine := errors.New("enough")
	if err := cl.Events(t.Context(), "p", 1, 0, func(Event) error { return mine }); err != mine {
		t.Errorf("got %v, want the caller's own error", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := cl.Events(ctx, "p", 1, 0, func(Event) error { cancel(mine); return nil })
	if !errors.Is(err, mine) {
		t.Errorf("got %v, want the cause of the context's end", err)
	}
	r, err := cl.Log(t.Context(), "p", 1, LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := r.Read(make([]byte, 1)); ended <- err }()
	_ = r.Close()
	if err := <-ended; err == nil || err == io.EOF {
		t.Errorf("closed while it was read: got %v, want an error", err)
	}
}

// FuzzReadEvent reads rubbish and comes to an end.
func FuzzReadEvent(f *testing.F) {
	f.Add("id: 1\nevent: a\ndata: {}\n\n: x\n\ndata\n\n")
	f.Add("data: a\r\ndata: b\r\n\r\n")
	f.Add("event: end\n\ndata:\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := bufio.NewReaderSize(strings.NewReader(text), 16)
		lines := 0
		for {
			e, err := readEvent(r, func() { lines++ })
			data := e.data
			if err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("got %v, want the end", err)
				}
				break
			}
			if data == nil {
				t.Error("an event without data")
			}
		}
		if want := strings.Count(text, "\n"); lines != want {
			t.Errorf("got %d lines, want %d", lines, want)
		}
	})
}

// TestTooMany: what the server refuses for being too much comes again when it said,
// and is not lost; what somebody waits for is told at once.
func TestTooMany(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path == "/api/v1/tokens" && string(body) != `{"note":"n"}` {
			t.Errorf("got body %q, %v", body, err)
		}
		if asked.Add(1) <= 2 || r.URL.Path == "/api/v1/login" {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"code":"too_many","detail":"too many"}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"x"}`)
	})
	if k, err := c.CreateToken(t.Context(), NewToken{Note: "n"}); err != nil || k.ID != "x" || asked.Load() != 3 {
		t.Errorf("got %+v, %v after %d requests", k, err, asked.Load())
	}
	before := asked.Load()
	var e *Error
	if _, err := c.Login(t.Context(), NewLogin{}); !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || asked.Load() != before+1 {
		t.Errorf("got %v after %d requests", err, asked.Load()-before)
	}
	asked.Store(-1000)
	if _, err := c.Me(t.Context()); !errors.As(err, &e) || e.Status != http.StatusTooManyRequests {
		t.Errorf("got %v; want it given up after a while", err)
	}
}
