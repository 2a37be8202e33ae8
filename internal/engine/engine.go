package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Store keeps transitions. Append stores events of one build as one transition,
// all or none, and refuses with ci.ErrConflict what the build's state does not
// permit. Open lists the builds that are not done, oldest first; Load reads one,
// done or not, with its events in order.
type Store interface {
	Append(ctx context.Context, events ...ci.Event) error
	Open(ctx context.Context) ([]ci.Build, error)
	Load(ctx context.Context, id ci.BuildID) (ci.Build, []ci.Event, error)
}

// Config is what an engine works with.
type Config struct {
	Store   Store
	Fronts  []ci.FrontEnd
	Fetcher ci.Fetcher
	Now     func() time.Time // nil = time.Now
	Log     *slog.Logger     // nil = nowhere
}

// Engine decides. Its methods are safe from several goroutines.
type Engine struct {
	cfg Config

	mu     sync.Mutex
	builds map[ci.BuildID]*build
	order  []ci.BuildID  // oldest first: the order in which jobs are handed out
	wake   chan struct{} // closed and replaced whenever a job may have become ready
}

// build is what the engine holds of a build that is not done, and of one that
// is done while somebody follows it. Guarded by its own mutex, so that one
// build's writes do not hold up another's.
type build struct {
	mu      sync.Mutex
	rec     ci.Build
	events  []ci.Event
	changed chan struct{} // closed and replaced at every event
	claimed map[ci.JobID]bool
	began   map[ci.JobID]bool // claimed by an earlier process
}

// New makes an engine. Recover must have been called before jobs are claimed.
func New(c Config) *Engine {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: c, builds: map[ci.BuildID]*build{}, wake: make(chan struct{})}
}

// Recover takes up the builds that an earlier process left: compiles what was
// not compiled, and hands out again what was claimed.
func (e *Engine) Recover(ctx context.Context) error {
	open, err := e.cfg.Store.Open(ctx)
	if err != nil {
		return fmt.Errorf("recover builds: %w", err)
	}
	for _, rec := range open {
		_, events, err := e.cfg.Store.Load(ctx, rec.ID)
		if err != nil {
			return fmt.Errorf("recover builds: %w", err)
		}
		b := newBuild(rec)
		b.events = events
		for _, j := range rec.Jobs {
			b.began[j.ID] = j.Status == ci.Running
		}
		e.add(b)
		if err := e.advance(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func newBuild(rec ci.Build) *build {
	return &build{rec: rec, changed: make(chan struct{}), claimed: map[ci.JobID]bool{}, began: map[ci.JobID]bool{}}
}

func (e *Engine) add(b *build) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.builds[b.rec.ID] = b
	e.order = append(e.order, b.rec.ID)
}

func (e *Engine) build(id ci.BuildID) (*build, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.builds[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("build %s: %w", id, ci.ErrNotFound)
}

// wakeRunners lets every waiting Claim look again.
func (e *Engine) wakeRunners() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.wake)
	e.wake = make(chan struct{})
}

// commit stores events as one transition and then, and only then, lets them
// count. Under b.mu.
func (e *Engine) commit(ctx context.Context, b *build, events ...ci.Event) error {
	now := e.cfg.Now()
	seq := int64(len(b.events))
	for i := range events {
		events[i].Seq = seq + int64(i) + 1
		events[i].Time = now
	}
	if err := e.cfg.Store.Append(ctx, events...); err != nil {
		return err
	}
	for _, ev := range events {
		if err := b.rec.Apply(ev); err != nil {
			// The store took what the state machine refuses: they differ, which
			// no input may bring about.
			panic(fmt.Sprintf("engine: stored event does not apply: %v", err))
		}
	}
	b.events = append(b.events, events...)
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

// Follow calls f with each event of the build from sequence number `from` (1 is
// the first) on, in order, until the build is done and told, f returns false or
// ctx ends. A slow f holds up nobody else.
func (e *Engine) Follow(ctx context.Context, id ci.BuildID, from int64, f func(ci.Event) bool) error {
	b, err := e.build(id)
	if err != nil {
		return err
	}
	at := max(from-1, 0)
	for {
		b.mu.Lock()
		events, changed, done := b.events, b.changed, b.rec.Status.Done()
		b.mu.Unlock()
		for ; at < int64(len(events)); at++ {
			if !f(events[at]) {
				return nil
			}
		}
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Build is the build as it now stands.
func (e *Engine) Build(ctx context.Context, id ci.BuildID) (ci.Build, error) {
	b, err := e.build(id)
	if errors.Is(err, ci.ErrNotFound) {
		rec, _, err := e.cfg.Store.Load(ctx, id)
		return rec, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return clone(b.rec), nil
}

// Forget drops a finished build from memory. Build still finds it in the store;
// Follow does not.
func (e *Engine) Forget(id ci.BuildID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.builds, id)
	for i, o := range e.order {
		if o == id {
			e.order = append(e.order[:i], e.order[i+1:]...)
			break
		}
	}
}

// clone copies what Apply changes in place.
func clone(b ci.Build) ci.Build {
	b.Jobs = append([]ci.JobRun(nil), b.Jobs...)
	for i := range b.Jobs {
		b.Jobs[i].Steps = append([]ci.StepRun(nil), b.Jobs[i].Steps...)
	}
	return b
}
