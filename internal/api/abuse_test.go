package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	deep := strings.Repeat("[", 20_000)
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, text               string
	}{
		{"malformed", "POST", "/projects", `{"name":`, nil, 400, "malformed", "unexpected end"},
		{"two values", "POST", "/projects", `{} {}`, nil, 400, "malformed", "after top-level"},
		{"unknown field", "POST", "/projects", `{"name":"x1","sauce":{}}`, nil, 422, "invalid", "sauce"},
		{"unknown field inside", "POST", "/projects", `{"source":{"typ":"git"}}`, nil, 422, "invalid", "body.source.typ"},
		{"wrong type", "POST", "/projects", `{"name":7}`, nil, 422, "invalid", "body.name"},
		{"wrong type inside", "PUT", "/projects/web", `{"variables":[{"name":"A","value":1}]}`, nil, 422, "invalid", "body.variables[0].value"},
		{"number too big", "POST", "/projects/web/builds", `{"limits":{"timeout":1e99}}`, nil, 422, "invalid", "timeout"},
		{"null", "POST", "/projects", `null`, nil, 422, "invalid", "body"},
		{"list", "POST", "/projects/web/builds", `[]`, nil, 422, "invalid", "body"},
		{"no body", "POST", "/projects", ``, nil, 400, "malformed", "body is required"},
		{"deep", "POST", "/projects", deep, nil, 400, "malformed", "max depth"},
		{"not JSON", "POST", "/projects", `name: x`, []string{"Content-Type", "application/yaml"}, 415, "unsupported_media_type", ""},
		{"too large", "POST", "/projects", strings.Repeat(" ", 1<<20+1), nil, 413, "too_large", "1048576"},
		{"unknown parameter", "GET", "/projects?limt=3", "", nil, 422, "invalid", "query.limt"},
		{"limit", "GET", "/projects?limit=201", "", nil, 422, "invalid", "query.limit"},
		{"limit 0", "GET", "/builds?limit=0", "", nil, 422, "invalid", "query.limit"},
		{"status", "GET", "/builds?status=failed,great", "", nil, 422, "invalid", "query.status"},
		{"time", "GET", "/builds?since=yesterday", "", nil, 422, "invalid", "query.since"},
		{"number", "GET", "/projects/web/builds/x", "", nil, 422, "invalid", "path.number"},
		{"number 0", "GET", "/projects/web/builds/0", "", nil, 422, "invalid", "path.number"},
		{"number beyond", "GET", "/projects/web/builds/99999999999999999999", "", nil, 422, "invalid", "path.number"},
		{"build that is not", "GET", "/projects/web/builds/77", "", nil, 404, "not_found", "web/77"},
		{"NUL in a name", "GET", "/projects/we%00b", "", nil, 404, "not_found", "we"},
		{"not UTF-8 in a name", "GET", "/projects/we%ffb", "", nil, 404, "not_found", "we"},
		{"slash in a name", "GET", "/projects/we%2fb", "", nil, 404, "not_found", ""},
		{"dots", "GET", "/projects/../projects", "", nil, 404, "not_found", ""},
		{"escaped dots", "GET", "/projects/%2e%2e/projects", "", nil, 404, "not_found", ""},
		{"double slash", "GET", "//projects", "", nil, 404, "not_found", ""},
		{"no such method", "PATCH", "/projects/web", "{}", nil, 405, "method_not_allowed", "PATCH"},
		{"no such place", "GET", "/nothing", "", nil, 404, "not_found", "openapi.json"},
		{"event number", "GET", "/projects/web/builds/1/events", "", []string{"Last-Event-ID", "x"}, 422, "invalid", "Last-Event-ID"},
	} {
		status, h, body := w.raw(c.method, "/api/v1"+c.path, w.token, c.body, c.header...)
		var f api.Fault
		if err := json.Unmarshal([]byte(body), &f); err != nil || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %s %q, want a problem", c.name, status, h.Get("Content-Type"), body)
			continue
		}
		if status != c.status || f.Status != c.status || f.Code != c.code || !strings.Contains(body, c.text) || f.Help == "" {
			t.Errorf("%s: got %d %s, want %d %s …%s…, and what to do", c.name, status, body, c.status, c.code, c.text)
		}
		if h.Get("X-Request-Id") == "" {
			t.Errorf("%s: the answer has no X-Request-Id", c.name)
		}
	}
	if status, h, _ := w.raw("PATCH", "/api/v1/projects/web", w.token, ""); status != 405 || h.Get("Allow") == "" {
		t.Errorf("got %d and Allow %q", status, h.Get("Allow"))
	}
	if status, h, _ := w.raw("GET", "/api/v1/projects", "", ""); status != 401 || !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("got %d and WWW-Authenticate %q", status, h.Get("WWW-Authenticate"))
	}
}

// TestIncidents has the inside fail, and nothing of it shown.
func TestIncidents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		fail   func() error
		status int
		code   string
	}{
		{"error", func() error { return errors.New("the inside of /var/lib") }, 500, "internal"},
		{"panic", func() error { panic("the inside of /var/lib") }, 500, "internal"},
		{"away", func() error { return fmt.Errorf("the inside of /var/lib: %w", ci.ErrUnavailable) }, 503, "unavailable"},
	} {
		w := newWorld(t, func(a *api.Config) {
			a.Identify = func(context.Context, string) (ci.User, error) { return ci.User{}, c.fail() }
		})
		status, h, body := w.raw("GET", "/api/v1/projects", "slu_x", "")
		var f api.Fault
		if err := json.Unmarshal([]byte(body), &f); err != nil || status != c.status || f.Code != c.code || f.Incident == "" || f.Incident != h.Get("X-Request-Id") {
			t.Errorf("%s: got %d %s, want %d %s with an incident", c.name, status, body, c.status, c.code)
		}
		if strings.Contains(body, "inside") {
			t.Errorf("%s: the answer shows the inside: %s", c.name, body)
		}
		if log := w.log.String(); !strings.Contains(log, f.Incident) || !strings.Contains(log, "inside of /var/lib") {
			t.Errorf("%s: the log does not say what happened:\n%s", c.name, log)
		}
	}
}

// TestSlowBody sends a body that never ends, and is sent away.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Patience = 500 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", w.token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("got %s, want 408", resp.Status)
	}
}

// TestBrokenBody sends chunks that are none.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", w.token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "broke off") {
		t.Errorf("got %s %s, want 400", resp.Status, text)
	}
}
