package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
	"github.com/sluice-ci/sluice/internal/frontend/buildspec"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/runner"
	"github.com/sluice-ci/sluice/internal/source"
	"github.com/sluice-ci/sluice/internal/store"
)

// world is all that outlives a killed process: folders, and the sandboxes.
type world struct {
	t      *testing.T
	dir    string
	script *executortest.Script
	config func(*runner.Config)
	made   func(*runner.Runner)
	wrap   func(engine.Store) engine.Store
	delay  time.Duration // of the engine, for the events of steps
	sqlite bool          // keep builds and artifacts as a server does, not as `sluice run`
	last   func() error  // closes the last process's database: its lock ends with a process
	secret ci.SecretSource
}

func newWorld(t *testing.T, spec string) *world {
	t.Helper()
	w := &world{t: t, dir: memory(t)}
	w.script = executortest.NewScript(filepath.Join(w.dir, "sandboxes"))
	w.file("buildspec.yml", "version: 0.2\n"+spec)
	return w
}

// memory is a folder in memory where there is one: these tests are about killed
// processes, which what was written survives, and they write often.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sluice-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// file puts a file into the source.
func (w *world) file(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "source", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) output(name string) string { return filepath.Join(w.dir, "out", name) }

// faulty wraps a store to kill the process at a write.
type faulty struct {
	engine.Store
	at    int  // kill at this write; 0 = never
	after bool // the write was done, but nobody heard of it
	n     int
	kill  func()
}

var errKilled = errors.New("killed")

func (f *faulty) Create(ctx context.Context, b ci.Build, key string) (got ci.Build, made bool, err error) {
	err = f.write(func() error {
		got, made, err = f.Store.Create(ctx, b, key)
		return err
	})
	return got, made, err
}

func (f *faulty) Append(ctx context.Context, events ...ci.Event) error {
	return f.write(func() error { return f.Store.Append(ctx, events...) })
}

func (f *faulty) write(do func() error) error {
	f.n++
	if f.n != f.at {
		if f.at > 0 && f.n > f.at {
			return errKilled // a dead process writes nothing more
		}
		return do()
	}
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	f.kill()
	return errKilled
}

// faultyBlobs counts what is put and deleted among the writes of the store, so
// that the process is killed there too.
type faultyBlobs struct {
	ci.Blobs
	f *faulty
}

func (b faultyBlobs) Put(ctx context.Context, key string, r io.Reader) (put ci.Blob, err error) {
	err = b.f.write(func() error {
		put, err = b.Blobs.Put(ctx, key, r)
		return err
	})
	return put, err
}

func (b faultyBlobs) Delete(ctx context.Context, prefix string) error {
	return b.f.write(func() error { return b.Blobs.Delete(ctx, prefix) })
}

// open opens the store of builds for one more process.
func (w *world) open(ctx context.Context) engine.Store {
	w.t.Helper()
	if w.last != nil {
		if err := w.last(); err != nil {
			w.t.Fatal(err)
		}
		w.last = nil
	}
	if !w.sqlite {
		s, err := store.OpenJournal(filepath.Join(w.dir, "journal"), false)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s, err := store.OpenDB(context.WithoutCancel(ctx), filepath.Join(w.dir, "sluice.db"), store.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = sync.OnceValue(s.Close)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// process is one life of sluice: an engine and a runner over the world.
type process struct {
	engine *engine.Engine
	store  *faulty
	logs   *logs.Store
	done   chan error
	stop   context.CancelFunc
}

func (w *world) process(ctx context.Context, killAt int, after bool) *process {
	w.t.Helper()
	ctx, stop := context.WithCancel(ctx)
	journal := w.open(ctx)
	kept, err := logs.Open(filepath.Join(w.dir, "logs"), logs.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	caches, err := blob.OpenDir(filepath.Join(w.dir, "cache"))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{store: &faulty{Store: journal, at: killAt, after: after, kill: stop}, logs: kept, done: make(chan error, 1), stop: stop}
	fetcher := source.New(source.Options{})
	builds := engine.Store(p.store)
	if w.wrap != nil {
		builds = w.wrap(builds)
	}
	p.engine = engine.New(engine.Config{Store: builds, Fronts: []ci.FrontEnd{buildspec.New()}, Fetcher: fetcher, Delay: w.delay})
	config := runner.Config{
		Desk: p.engine, Fetcher: fetcher, Logs: kept, Caches: caches, Secrets: func(ci.Build) ci.SecretSource { return w.secret }, Grace: time.Second,
		Place: func(_ context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error) { return w.script, r, nil },
		Output: func(id ci.JobID) string {
			return w.output(id.Name())
		},
	}
	if w.sqlite {
		blobs, err := blob.OpenDir(filepath.Join(w.dir, "blobs"))
		if err != nil {
			w.t.Fatal(err)
		}
		config.Blobs, config.Caches = faultyBlobs{blobs, p.store}, faultyBlobs{caches, p.store}
	}
	if w.config != nil {
		w.config(&config)
	}
	r := runner.New(config)
	if w.made != nil {
		w.made(r)
	}
	if err := p.engine.Recover(ctx); err != nil {
		w.t.Fatal(err)
	}
	open, err := journal.Open(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	// As `sluice run` does at its start: remove what no open build owns.
	if err := w.script.Sweep(ctx, func(id ci.JobID) bool { return len(open) > 0 }); err != nil && ctx.Err() == nil {
		w.t.Fatal(err)
	}
	go func() { p.done <- r.Run(ctx) }()
	return p
}

func (w *world) request() engine.Request {
	return engine.Request{
		ID: "b", Number: 7, Project: "proj", Initiator: "tester",
		Source: ci.Source{Type: "directory", Location: filepath.Join(w.dir, "source")},
	}
}

// wait follows the build to its end and lets the process go.
func (w *world) wait(p *process) ci.Build {
	w.t.Helper()
	err := p.engine.Follow(w.t.Context(), "b", 1, func(ci.Event) bool { return true })
	if err != nil && !errors.Is(err, ci.ErrNotFound) { // not found: it had ended before this process began
		w.t.Fatal(err)
	}
	b, err := p.engine.Build(w.t.Context(), "b")
	if err != nil {
		w.t.Fatal(err)
	}
	p.stop()
	if err := <-p.done; err != nil {
		w.t.Fatal(err)
	}
	return b
}

// run is one undisturbed build.
func (w *world) run(change ...func(*engine.Request)) (ci.Build, *process) {
	w.t.Helper()
	p := w.process(w.t.Context(), 0, false)
	r := w.request()
	for _, c := range change {
		c(&r)
	}
	if _, err := p.engine.Start(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	return w.wait(p), p
}

// log reads what is kept of a step's output.
func (w *world) log(p *process, id ci.StepID) string {
	w.t.Helper()
	r, err := p.logs.Tail(w.t.Context(), id, 0)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// phases writes a build's phases and commands in one line each.
func phases(b ci.Build) string {
	var out strings.Builder
	for _, j := range b.Jobs {
		for _, s := range j.Steps {
			if s.Kind != ci.KindAction {
				fmt.Fprintf(&out, "%s %s\n", s.ID.Path(), s.Status)
			}
		}
	}
	return out.String()
}
