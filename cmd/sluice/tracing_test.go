package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/sluice-ci/sluice/internal/ci"
)

// A server killed in the middle of a build tells the collector of one trace, the
// one that the build's commands were told of.
func TestTraceThroughAKill(t *testing.T) {
	came := make(chan ptrace.Traces, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		req := ptraceotlp.NewExportRequest()
		if err == nil {
			err = req.UnmarshalJSON(body)
		}
		if err != nil || r.Header.Get("X-Api-Key") != "secret one" {
			t.Errorf("%v, headers %v", err, r.Header)
			return
		}
		came <- req.Traces()
	}))
	t.Cleanup(collector.Close)
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("# of the collector\nx-api-key: secret one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLUICE_OTLP", collector.URL)
	t.Setenv("SLUICE_OTLP_HEADERS", headers)
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	s.project("app", `["echo $TRACEPARENT"]`)
	s.must("build", "start", "app")
	s.kill()
	s = serverIn(t, data)
	if b := s.ended("app", 1); b.Status != string(ci.Succeeded) {
		t.Fatalf("got %s: %s", b.Status, b.Reason)
	}
	parent := strings.TrimSpace(s.whole("app", 1))
	select {
	case traces := <-came:
		spans := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
		found := false
		for i := range spans.Len() {
			sp := spans.At(i)
			found = found || parent == "00-"+sp.TraceID().String()+"-"+sp.SpanID().String()+"-01"
		}
		if !found || spans.Len() < 4 {
			t.Errorf("none of %d spans is %s", spans.Len(), parent)
		}
	case <-time.After(time.Minute):
		t.Fatalf("no trace came:\n%s", s.said())
	}
}

func TestHeadersIn(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "headers")
	for text, want := range map[string]string{"no colon": "headers:1", "A: b\n\nB d: SECRET": "headers:3", ": x": "headers:1"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := headersIn(name); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
