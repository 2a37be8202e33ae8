package trace

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// collector reads what it is sent with the reader of OpenTelemetry's own
// collector, and passes it on.
func collector(t *testing.T, answer func(n int64) int) (url string, got <-chan ptrace.Traces) {
	t.Helper()
	came := make(chan ptrace.Traces, 100)
	var count atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalJSON(body); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Key") != "k" {
			t.Errorf("%s %s %v: %v in %s", r.Method, r.URL.Path, r.Header, err, body)
		}
		if status := answer(count.Add(1)); status != 200 {
			w.WriteHeader(status)
			return
		}
		came <- req.Traces()
	}))
	t.Cleanup(s.Close)
	return s.URL, came
}

func next(t *testing.T, got <-chan ptrace.Traces) map[string]ptrace.Span {
	t.Helper()
	select {
	case traces := <-got:
		if name, _ := traces.ResourceSpans().At(0).Resource().Attributes().Get("service.name"); name.Str() != "sluice" {
			t.Errorf("got service.name %q", name.Str())
		}
		spans := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
		by := map[string]ptrace.Span{}
		for i := range spans.Len() {
			by[spans.At(i).Name()] = spans.At(i)
		}
		return by
	case <-time.After(time.Minute):
		t.Fatal("no trace came")
		return nil
	}
}

// ran stores a build that went all the way.
func ran(t *testing.T, db *store.DB, id ci.BuildID) ci.Build {
	t.Helper()
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b := ci.Build{ID: id, Project: "app", Number: 11 + int64(id[1]-'0'), Status: ci.Queued, Queued: at, Initiator: "ann", Commit: ci.Commit{Hash: "c0ffee", Ref: "refs/heads/main"}}
	job := ci.JobRun{ID: id.Job("build", 1), Name: "build", Status: ci.Queued, Queued: at}
	events := []ci.Event{ci.NewEvent(ci.EventBuildQueued, b)}
	b.Status, b.Started = ci.Running, at.Add(time.Second)
	events = append(events, ci.NewEvent(ci.EventBuildStarted, b), ci.NewEvent(ci.EventJobQueued, job))
	job.Status, job.Started = ci.Running, at.Add(2*time.Second)
	events = append(events, ci.NewEvent(ci.EventJobStarted, job))
	for i, s := range []ci.StepRun{
		{ID: job.ID.Step("BUILD"), Kind: ci.KindPhase},
		{ID: job.ID.Step("BUILD/0"), Kind: ci.KindCommand, Title: "make \xff"},
	} {
		s.Status, s.Started = ci.Running, at.Add(time.Duration(3+i)*time.Second)
		events = append(events, ci.NewEvent(ci.EventStepStarted, s))
		s.Status, s.Ended, s.Exit = ci.Failed, at.Add(time.Duration(9-i)*time.Second), &ci.Exit{Code: 2}
		events = append(events, ci.NewEvent(ci.EventStepFinished, s))
	}
	job.Status, job.Ended, job.Reason = ci.Failed, at.Add(10*time.Second), "make: exit 2"
	events = append(events, ci.NewEvent(ci.EventJobFinished, job))
	b.Status, b.Ended, b.Reason = ci.Failed, at.Add(11*time.Second), "job build failed"
	if err := db.Append(t.Context(), append(events, ci.NewEvent(ci.EventBuildFinished, b))...); err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.OpenDB(t.Context(), filepath.Join(t.TempDir(), "sluice.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t *testing.T, c Config) (stop func()) {
	t.Helper()
	c.First, c.Most, c.Header, c.Version = time.Millisecond, 4*time.Millisecond, http.Header{"X-Key": {"k"}}, "1.2"
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := x.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); work.Wait() })
	t.Cleanup(stop)
	return stop
}

func TestABuildIsATrace(t *testing.T) {
	t.Parallel()
	db := open(t)
	url, got := collector(t, func(int64) int { return 200 })
	if _, err := db.Position(t.Context(), reader); err != nil { // it reads from here on
		t.Fatal(err)
	}
	b := ran(t, db, "b1")
	run(t, Config{Store: db, URL: url})
	spans := next(t, got)
	root, job, phase, command := spans["build app"], spans["job build"], spans["BUILD"], spans["make \uFFFD"]
	if len(spans) != 4 {
		t.Fatalf("got %d spans: %v", len(spans), spans)
	}
	trace := root.TraceID().String()
	if want := "00-" + trace + "-" + job.SpanID().String() + "-01"; Parent("b1/build") != want || len(trace) != 32 {
		t.Errorf("commands are told %s, the trace says %s", Parent("b1/build"), want)
	}
	for _, s := range spans {
		if s.TraceID().String() != trace || s.EndTimestamp() < s.StartTimestamp() || s.Status().Code() != ptrace.StatusCodeError {
			t.Errorf("got span %q of trace %s, %s to %s, %v", s.Name(), s.TraceID(), s.StartTimestamp(), s.EndTimestamp(), s.Status().Code())
		}
	}
	if !root.ParentSpanID().IsEmpty() || job.ParentSpanID() != root.SpanID() || phase.ParentSpanID() != job.SpanID() || command.ParentSpanID() != phase.SpanID() {
		t.Errorf("got parents %s, %s, %s, %s", root.ParentSpanID(), job.ParentSpanID(), phase.ParentSpanID(), command.ParentSpanID())
	}
	if !root.StartTimestamp().AsTime().Equal(b.Queued) || !root.EndTimestamp().AsTime().Equal(b.Ended) || root.Status().Message() != "job build failed" {
		t.Errorf("got %s to %s, %q", root.StartTimestamp(), root.EndTimestamp(), root.Status().Message())
	}
	for key, want := range map[string]string{"cicd.pipeline.name": "app", "cicd.pipeline.result": "failure", "vcs.ref.head.name": "refs/heads/main", "sluice.build.number": "12"} {
		if v, _ := root.Attributes().Get(key); v.AsString() != want {
			t.Errorf("%s: got %q, want %q", key, v.AsString(), want)
		}
	}
	if v, _ := command.Attributes().Get("process.exit.code"); v.Int() != 2 {
		t.Errorf("got exit code %v", v.AsString())
	}
}

// A collector that is away is waited for, through restarts; what it refuses holds
// up nothing. Nothing is lost, and what was sent is not sent again.
func TestCollectorAway(t *testing.T) {
	t.Parallel()
	db := open(t)
	failed := make(chan struct{}, 100)
	url, got := collector(t, func(n int64) int {
		switch {
		case n <= 3:
			failed <- struct{}{}
			return 503
		case n == 4:
			return 400
		}
		return 200
	})
	stop := run(t, Config{Store: db, URL: url})
	if _, err := db.Position(t.Context(), reader); err != nil { // it reads from here on
		t.Fatal(err)
	}
	for n := range 3 {
		ran(t, db, ci.BuildID(fmt.Sprint("b", n)))
	}
	<-failed
	stop()
	stop = run(t, Config{Store: db, URL: url})
	for _, want := range []ci.BuildID{"b1", "b2"} { // b0 was refused
		if root := next(t, got)["build app"]; root.TraceID().String() != ID(want) {
			t.Errorf("got trace %s, want that of %s", root.TraceID(), want)
		}
	}
	ran(t, db, "b3")
	if root := next(t, got)["build app"]; root.TraceID().String() != ID("b3") {
		t.Errorf("got trace %s, want that of b3", root.TraceID())
	}
	stop()
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "collector:4318", "ftp://x", "http://"} {
		if _, err := New(Config{URL: url}); err == nil || !strings.Contains(err.Error(), "want an address") {
			t.Errorf("%q: got %v", url, err)
		}
	}
}
