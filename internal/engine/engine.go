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

// Store keeps transitions. Create stores a queued build and gives it its number,
// unless it has one, or finds the build that was created under the same key of
// the same project. Append stores events of one build as one transition, all or
// none, and refuses with ci.ErrConflict what the build's state does not permit.
// Open lists the builds that are not done, oldest first; Load reads one, done or
// not, with its events in order.
type Store interface {
	Create(ctx context.Context, b ci.Build, key string) (got ci.Build, made bool, err error)
	Append(ctx context.Context, events ...ci.Event) error
	Open(ctx context.Context) ([]ci.Build, error)
	Load(ctx context.Context, id ci.BuildID) (ci.Build, []ci.Event, error)
}

// Config is what an engine works with.
type Config struct {
	Store   Store
	Fronts  []ci.FrontEnd
	Fetcher ci.Fetcher

	// Capacity is what the jobs that run may take together; zero values are no limit.
	Capacity Demand
	// Demand says what a job takes of it; nil = the CPUs and memory that its
	// runtime names. A job that names none takes none: it starts at once.
	Demand func(ci.Runtime) Demand
	// Rate is what a place costs, by executor, environment type and compute size;
	// nil = nothing, by the minute.
	Rate func(executor, envType, size string) ci.Rate
	// Compilers is how many definitions Run compiles at once. 0 = Start compiles
	// before it returns, and nothing needs Run.
	Compilers int
	// Delay is how long the events of steps may wait to be stored with others. It
	// needs Run; 0 = each is stored before the runner goes on.
	Delay time.Duration
	// Shared is for a store that several servers have in common, of which this is
	// Node; nil = all builds are this engine's. It needs Run.
	Shared Shared
	Node   Node
	// Guard refuses definitions that give a job privileges which its build was not
	// started with: on a server who writes a definition is not who grants those.
	Guard bool
	// Adopt copies what job from left to job to, which takes it over, and says in
	// the artifacts where it is now. It may be called again for the same. nil =
	// artifacts are shared.
	Adopt func(ctx context.Context, from, to ci.JobID, artifacts []ci.Artifact) error
	// Retain keeps builds in memory when they are done. It is for a process that
	// does one: what it knows of it must not depend on files that may be removed.
	Retain bool

	Now func() time.Time // nil = time.Now
	Log *slog.Logger     // nil = nowhere
}

// Engine decides. Its methods are safe from several goroutines.
type Engine struct {
	cfg   Config
	queue *queue
	todo  *backlog // builds to compile, for Run

	mu     sync.Mutex
	builds map[ci.BuildID]*build // those that are not done
	coming map[ci.BuildID]bool   // those that are being stored
}

// build is what the engine holds of a build that is not done, and of one that
// is done while somebody follows it. Guarded by its own mutex, so that one
// build's writes do not hold up another's.
type build struct {
	id      ci.BuildID
	mu      sync.Mutex
	rec     ci.Build
	events  []ci.Event
	stored  int           // how many of the events are stored; the others are staged
	basis   bool          // commands build on what is only staged
	late    bool          // Run will store what is staged
	lost    bool          // another server has it now, or it was deleted
	changed chan struct{} // closed and replaced when more is stored
	offered map[ci.JobID]*entry
	claimed map[ci.JobID]bool
	began   map[ci.JobID]bool  // claimed by an earlier process
	give    context.CancelFunc // gives up compiling; nil when nobody compiles
}

// New makes an engine. Recover must have been called before jobs are claimed.
func New(c Config) *Engine {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Demand == nil {
		c.Demand = func(r ci.Runtime) Demand { return Demand{CPUs: r.CPUs, Memory: r.Memory} }
	}
	return &Engine{cfg: c, builds: map[ci.BuildID]*build{}, coming: map[ci.BuildID]bool{}, queue: newQueue(c.Capacity, c.Now), todo: newBacklog()}
}

// Recover takes up the builds that an earlier process left: compiles what was
// not compiled, and hands out again what was claimed.
func (e *Engine) Recover(ctx context.Context) error {
	if e.cfg.Shared != nil {
		// The first beat comes before anything is looked at: until then others may
		// take what this node has.
		if err := errors.Join(e.Join(ctx), e.cfg.Shared.ForgetNodes(ctx, forgotten), e.serveShared(ctx)); err != nil {
			return fmt.Errorf("recover builds: %w", err)
		}
		return nil
	}
	open, err := e.cfg.Store.Open(ctx)
	if err != nil {
		return fmt.Errorf("recover builds: %w", err)
	}
	for _, rec := range open {
		_, events, err := e.cfg.Store.Load(ctx, rec.ID)
		if err != nil {
			return fmt.Errorf("recover builds: %w", err)
		}
		if err := e.begin(ctx, recovered(rec, events)); err != nil {
			return err
		}
	}
	return nil
}

// recovered is a build that another process had before.
func recovered(rec ci.Build, events []ci.Event) *build {
	b := newBuild(rec)
	b.events, b.stored = events, len(events)
	for _, j := range rec.Jobs {
		b.began[j.ID] = j.Status == ci.Running
	}
	return b
}

func newBuild(rec ci.Build) *build {
	return &build{
		id: rec.ID, rec: rec, changed: make(chan struct{}),
		offered: map[ci.JobID]*entry{}, claimed: map[ci.JobID]bool{}, began: map[ci.JobID]bool{},
	}
}

// begin takes a build in hand. What may take long is left to Run where there is one.
func (e *Engine) begin(ctx context.Context, b *build) error {
	e.mu.Lock()
	e.builds[b.id] = b
	e.mu.Unlock()
	e.todo.watch(b)
	if b.rec.Status == ci.Queued && e.cfg.Compilers > 0 {
		e.todo.push(b)
		return nil
	}
	return e.advance(ctx, b)
}

func (e *Engine) build(id ci.BuildID) (*build, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.builds[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("build %s: %w", id, ci.ErrNotFound)
}

// drop lets a build go that is done. Those who follow it have it still.
func (e *Engine) drop(id ci.BuildID) {
	if e.cfg.Retain {
		e.queue.forget(id)
	} else {
		e.forget(id)
	}
}

func (e *Engine) forget(id ci.BuildID) {
	e.mu.Lock()
	delete(e.builds, id)
	e.mu.Unlock()
	e.queue.forget(id)
}

// Follow calls f with each event of the build from sequence number `from` (1 is
// the first) on, in order, until the build is done and told, f returns false or
// ctx ends. A slow f holds up nobody else.
func (e *Engine) Follow(ctx context.Context, id ci.BuildID, from int64, f func(ci.Event) bool) error {
	at := max(from-1, 0)
	b, err := e.build(id)
	if err != nil {
		return e.replay(ctx, id, at, f)
	}
	for {
		b.mu.Lock()
		events, changed, done, lost := b.events[:b.stored], b.changed, b.stored == len(b.events) && b.rec.Status.Done(), b.lost
		b.mu.Unlock()
		for ; at < int64(len(events)); at++ {
			if !f(events[at]) {
				return nil
			}
		}
		if done {
			return nil
		}
		if lost {
			return e.replay(ctx, id, at, f)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// replay is Follow of a build that this engine does not have in hand.
func (e *Engine) replay(ctx context.Context, id ci.BuildID, at int64, f func(ci.Event) bool) error {
	if e.cfg.Shared != nil {
		return e.elsewhere(ctx, id, at, f)
	}
	rec, events, err := e.cfg.Store.Load(ctx, id)
	if err != nil {
		return err
	}
	for ; at < int64(len(events)); at++ {
		if !f(events[at]) {
			return nil
		}
	}
	if !rec.Status.Done() {
		return fmt.Errorf("build %s is not in this server's hands: ask again in a moment: %w", id, ci.ErrUnavailable)
	}
	return nil
}

// Build is the build as it now stands, as far as it is stored.
func (e *Engine) Build(ctx context.Context, id ci.BuildID) (ci.Build, error) {
	b, err := e.build(id)
	if errors.Is(err, ci.ErrNotFound) {
		rec, _, err := e.cfg.Store.Load(ctx, id)
		return rec, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := e.flush(ctx, b); err != nil {
		return fold(b.events[:b.stored]), nil
	}
	return clone(b.rec), nil
}

// clone copies what Apply changes in place.
func clone(b ci.Build) ci.Build {
	b.Jobs = append([]ci.JobRun(nil), b.Jobs...)
	for i := range b.Jobs {
		b.Jobs[i].Steps = append([]ci.StepRun(nil), b.Jobs[i].Steps...)
	}
	return b
}
