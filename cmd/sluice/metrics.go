package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/metric"
	"github.com/sluice-ci/sluice/internal/store"
)

// gauges is what the server counts and measures of itself.
type gauges struct {
	set      metric.Set
	started  *metric.Counter
	finished *metric.Counter
	steps    *metric.Counter
	first    *metric.Histogram
	took     *metric.Histogram
	commits  *metric.Histogram
	groups   *metric.Histogram
	requests *metric.Histogram
	written  atomic.Int64

	mu     sync.Mutex
	queued map[ci.BuildID]time.Time // builds of this process none of whose commands began
}

func newGauges() *gauges {
	g := &gauges{queued: map[ci.BuildID]time.Time{}}
	s := &g.set
	s.Gauge("sluice_info", "Which version this is.", func(_ context.Context, emit metric.Emit) { emit(1, version) }, "version")
	g.started = s.Counter("sluice_builds_created_total", "Builds that this process stored.")
	g.finished = s.Counter("sluice_builds_finished_total", "Builds that ended in this process' hands, by how.", "status")
	g.steps = s.Counter("sluice_commands_finished_total", "Commands of definitions that ended, by how.", "status")
	g.first = s.Histogram("sluice_first_command_seconds", "From a build's being stored to the start of its first command.",
		[]float64{.005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800})
	g.took = s.Histogram("sluice_build_seconds", "From a build's being stored to its end.",
		[]float64{.01, .05, .1, .5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400})
	g.commits = s.Histogram("sluice_store_commit_seconds", "What a transaction took, of those that change something.",
		[]float64{.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, 1, 5})
	g.groups = s.Histogram("sluice_store_commit_changes", "Changes that went into one transaction.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256})
	g.requests = s.Histogram("sluice_http_request_seconds", "Requests, by method and status; streams are not among them.",
		[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}, "method", "status")
	return g
}

// observed is the store of the engine, of whose events the gauges hear once they
// are stored.
type observed struct {
	*store.DB
	g *gauges
}

func (o observed) Create(ctx context.Context, b ci.Build, key string) (ci.Build, bool, error) {
	got, made, err := o.DB.Create(ctx, b, key)
	if err == nil && made {
		o.g.created(got)
	}
	return got, made, err
}

func (o observed) Append(ctx context.Context, events ...ci.Event) error {
	err := o.DB.Append(ctx, events...)
	if err == nil {
		o.g.heard(events)
	}
	return err
}

func (g *gauges) created(b ci.Build) {
	g.started.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queued[b.ID] = b.Queued
}

func (g *gauges) heard(events []ci.Event) {
	for _, e := range events {
		switch e.Type {
		case ci.EventStepStarted:
			if !isCommand(e.Step) {
				continue
			}
			g.mu.Lock()
			if queued, waits := g.queued[e.Build]; waits {
				delete(g.queued, e.Build)
				g.first.Observe(max(e.Time.Sub(queued), 0).Seconds())
			}
			g.mu.Unlock()
		case ci.EventStepFinished:
			if isCommand(e.Step) {
				g.steps.Add(1, string(e.Status))
			}
		case ci.EventBuildFinished:
			g.finished.Add(1, string(e.Status))
			var b struct{ Queued, Ended time.Time }
			if json.Unmarshal(e.Data, &b) == nil && b.Ended.After(b.Queued) {
				g.took.Observe(b.Ended.Sub(b.Queued).Seconds())
			}
			g.mu.Lock()
			delete(g.queued, e.Build)
			g.mu.Unlock()
		}
	}
}

// isCommand says whether a step is a command of a definition: "BUILD/0".
func isCommand(id ci.StepID) bool {
	_, n, ok := strings.Cut(id.Path(), "/")
	_, err := strconv.Atoi(n)
	return ok && err == nil
}

// read adds what is read from the parts of the server when it is asked for.
func (g *gauges) read(s *server) {
	set := &g.set
	set.Gauge("sluice_builds", "Builds that are not done, in this process' hands.", func(_ context.Context, emit metric.Emit) {
		emit(float64(s.engine.Stats().Builds))
	})
	set.Gauge("sluice_builds_compiling", "Builds whose definition is waited for.", func(_ context.Context, emit metric.Emit) {
		emit(float64(s.engine.Stats().Compiling))
	})
	set.Gauge("sluice_jobs_running", "Jobs that run.", func(_ context.Context, emit metric.Emit) { emit(float64(s.engine.Stats().Running)) })
	set.Gauge("sluice_jobs_waiting", "Jobs that could run, by what they wait for.", func(_ context.Context, emit metric.Emit) {
		ready := s.engine.Stats().Ready
		for _, why := range []string{"memory", "processors", "runner", "turn", "order", "bigger job"} {
			emit(float64(ready[why]), why)
		}
	}, "for")
	set.Gauge("sluice_capacity", "What jobs share: slots, processors, bytes of memory; 0 = no limit.", func(_ context.Context, emit metric.Emit) {
		c := s.engine.Stats().Capacity
		emit(float64(s.cfg.jobs), "slots")
		emit(c.CPUs, "processors")
		emit(float64(c.Memory), "memory")
	}, "of")
	set.Gauge("sluice_capacity_used", "What of it jobs have that run.", func(_ context.Context, emit metric.Emit) {
		st := s.engine.Stats()
		emit(float64(st.Running), "slots")
		emit(st.Used.CPUs, "processors")
		emit(float64(st.Used.Memory), "memory")
	}, "of")
	set.Gauge("sluice_streams", "Answers that are being streamed: logs and events that somebody follows.", func(_ context.Context, emit metric.Emit) {
		emit(float64(s.api.Streams()))
	})
	set.CounterOf("sluice_log_bytes_total", "Bytes of output that were stored, masked.", func(_ context.Context, emit metric.Emit) { emit(float64(g.written.Load())) })
	set.Gauge("sluice_notifications", "Notices on their way, and given up, of all processes.", func(ctx context.Context, emit metric.Emit) {
		counts, err := s.db.DeliveryCounts(ctx)
		if err != nil {
			s.log.Warn("notices could not be counted", "err", err)
			return
		}
		emit(float64(counts[ci.DeliveryPending]), string(ci.DeliveryPending))
		emit(float64(counts[ci.DeliveryDead]), string(ci.DeliveryDead))
	}, "state")
	set.Gauge("sluice_goroutines", "Goroutines.", func(_ context.Context, emit metric.Emit) { emit(float64(runtime.NumGoroutine())) })
	set.Gauge("sluice_memory_bytes", "Memory of the Go runtime: in use by objects, and had from the system.", func(_ context.Context, emit metric.Emit) {
		samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(samples)
		emit(float64(samples[0].Value.Uint64()), "objects")
		emit(float64(samples[1].Value.Uint64()-samples[2].Value.Uint64()), "total")
	}, "what")
	set.Gauge("process_open_fds", "Open file descriptors.", func(_ context.Context, emit metric.Emit) {
		if files, err := os.ReadDir("/proc/self/fd"); err == nil {
			emit(float64(len(files) - 1)) // without the folder that was read
		}
	})
	began := float64(time.Now().UnixMilli()) / 1000
	set.Gauge("process_start_time_seconds", "When this process began.", func(_ context.Context, emit metric.Emit) { emit(began) })
}

// handler measures requests, and answers those for metrics.
func (g *gauges) handler(s *server, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			if s.mayWatch(w, r) {
				g.answer(w, r)
			}
			return
		}
		began := time.Now()
		seen := &statusOf{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if !seen.streams() {
				g.requests.Observe(time.Since(began).Seconds(), methodOf(r), strconv.Itoa(seen.status))
			}
		}()
		api.ServeHTTP(seen, r)
	})
}

// methodOf keeps clients from making up labels.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// statusOf remembers how an answer began.
type statusOf struct {
	http.ResponseWriter
	status int
}

func (w *statusOf) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// streams says whether the answer was one that is written for as long as somebody follows.
func (w *statusOf) streams() bool { return w.Header().Get("X-Accel-Buffering") == "no" }

// Unwrap is for http.ResponseController.
func (w *statusOf) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// mayWatch lets those pass who may look at the whole server.
func (s *server) mayWatch(w http.ResponseWriter, r *http.Request) bool {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	u, err := s.auth.Identify(r.Context(), strings.TrimSpace(token))
	switch {
	case token == "" || errors.Is(err, ci.ErrDenied):
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "metrics need a token: authorization: {credentials_file: ...} of Prometheus; or have them at an address of their own with --metrics", http.StatusUnauthorized)
	case err != nil:
		s.log.Warn("the token for metrics could not be looked up", "err", err)
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
	case !u.Role.Known() || !u.Role.AtLeast(ci.RoleViewer) || u.Only != nil:
		http.Error(w, "metrics take the role viewer in the whole server", http.StatusForbidden)
	default:
		return true
	}
	return false
}

func (g *gauges) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", metric.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	_ = g.set.Write(r.Context(), w) // who does not take it has left
}

// serveMetrics answers at the address for metrics, if there is one, until ctx ends.
func (s *server) serveMetrics(ctx context.Context) error {
	if s.metricsAt == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.gauges.answer)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- web.Serve(s.metricsAt) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		_ = web.Close()
		<-done
		return nil
	}
}

// openMetrics opens the address for metrics.
func (s *server) openMetrics(ctx context.Context) error {
	if s.cfg.metrics == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.metrics)
	if err != nil {
		return usagef("--metrics %s: %w; choose another address", s.cfg.metrics, err)
	}
	s.metricsAt = l
	s.log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	return nil
}
