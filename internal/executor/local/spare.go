package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// shape is what a sandbox that was made ahead must have in common with the one
// that is asked for. Limits are set when it is taken.
type shape struct {
	isolation, network string
	privileged         bool
}

// spare is a sandbox that was made ahead. Its lock is held, so that no sweep
// takes it for a remainder.
type spare struct {
	folder folder
	rec    *record
	child  *child
	report *report
	unlock func()
}

// spares are the sandboxes that wait to be taken.
type spares struct {
	mu     sync.Mutex
	keep   int // of each shape; 0 = nobody makes any
	ready  map[shape][]*spare
	shapes []shape       // those that are kept, the one wanted last at the end
	poke   chan struct{} // holds one when something may have to be made
}

// keptShapes is for how many shapes sandboxes are made ahead.
const keptShapes = 3

// Keep has n sandboxes of the default shape ready at any time, and as many of
// the last others that were asked for, so that Open has only to hand one over.
// They are made one after another, when the machine has just become idler: at
// the start and when a sandbox is closed. Keep returns when ctx has ended and
// those that nobody took are gone. gVisor's are not made ahead.
func (e *Executor) Keep(ctx context.Context, n int) error {
	s := &e.spares
	s.mu.Lock()
	s.keep, s.ready, s.poke = n, map[shape][]*spare{}, make(chan struct{}, 1)
	s.shapes = []shape{{isolation: Sandboxed, network: "host"}}
	s.poke <- struct{}{}
	s.mu.Unlock()
	var err error
	for ctx.Err() == nil {
		select {
		case <-s.poke:
			if err = e.fill(ctx); err != nil && ctx.Err() == nil {
				return errors.Join(err, e.dropSpares(ctx))
			}
		case <-ctx.Done():
		}
	}
	return e.dropSpares(ctx)
}

// fill makes what is missing.
func (e *Executor) fill(ctx context.Context) error {
	for ctx.Err() == nil {
		want, ok := e.spares.missing()
		if !ok {
			return nil
		}
		sp, err := e.makeSpare(ctx, want)
		if err != nil {
			return fmt.Errorf("make a sandbox ahead: %w", err)
		}
		e.spares.mu.Lock()
		e.spares.ready[want] = append(e.spares.ready[want], sp)
		e.spares.mu.Unlock()
	}
	return nil
}

func (s *spares) missing() (shape, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.shapes) - 1; i >= 0; i-- {
		if len(s.ready[s.shapes[i]]) < s.keep {
			return s.shapes[i], true
		}
	}
	return shape{}, false
}

func (e *Executor) makeSpare(ctx context.Context, want shape) (*spare, error) {
	// No build has such a job: a name of an ID holds no such character.
	job := ci.JobID("ahead:" + rand.Text() + "/ahead")
	if err := e.root(); err != nil {
		return nil, err
	}
	f := folderOf(e.cfg.Root, job)
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, err
	}
	sp := &spare{folder: f, unlock: unlock}
	s, err := e.make(ctx, f, ci.Placement{Job: job, Runtime: ci.Runtime{
		Isolation: want.isolation, Network: want.network, Privileged: want.privileged,
	}})
	if err != nil {
		err = errors.Join(err, e.destroy(context.WithoutCancel(ctx), f))
		unlock()
		return nil, err
	}
	sp.rec, sp.child, sp.report = s.rec, s.child, s.report
	return sp, nil
}

// take hands out a sandbox of the shape that still lives; nil when there is none.
func (s *spares) take(want shape) (got *spare, dead []*spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keep == 0 {
		return nil, nil
	}
	s.want(want)
	for list := s.ready[want]; len(list) > 0; list = s.ready[want] {
		sp := list[0]
		s.ready[want] = list[1:]
		select {
		case <-sp.child.ended:
			dead = append(dead, sp)
		default:
			return sp, dead
		}
	}
	return nil, dead
}

// want notes that a shape was asked for. What was wanted longest ago is made no
// more when there are too many; the first, the default, stays.
func (s *spares) want(w shape) {
	for i, known := range s.shapes {
		if known == w {
			if i > 0 {
				s.shapes = append(append(s.shapes[:i], s.shapes[i+1:]...), w)
			}
			return
		}
	}
	if len(s.shapes) == keptShapes {
		s.shapes = append(s.shapes[:1], s.shapes[2:]...)
	}
	s.shapes = append(s.shapes, w)
}

// closed says that a sandbox is gone: a good moment to make the next.
func (s *spares) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keep > 0 {
		select {
		case s.poke <- struct{}{}:
		default:
		}
	}
}

// dropSpares removes what nobody took.
func (e *Executor) dropSpares(ctx context.Context) error {
	s := &e.spares
	s.mu.Lock()
	ready := s.ready
	s.keep, s.ready = 0, nil
	s.mu.Unlock()
	var errs []error
	for _, list := range ready {
		for _, sp := range list {
			errs = append(errs, e.drop(context.WithoutCancel(ctx), sp))
		}
	}
	return errors.Join(errs...)
}

func (e *Executor) drop(ctx context.Context, sp *spare) error {
	defer sp.unlock()
	if err := e.destroy(ctx, sp.folder); err != nil {
		return fmt.Errorf("remove a sandbox that was made ahead: %w", err)
	}
	return nil
}

// ahead gives the job a sandbox that was made ahead, nil when none fits. The
// caller holds the lock of f, the job's folder, which is not there yet.
func (e *Executor) ahead(ctx context.Context, f folder, p ci.Placement) (*Sandbox, error) {
	if p.Runtime.Isolation == GVisor || (os.Geteuid() != 0 && p.Runtime.Processes != 0) { // an rlimit cannot be set later
		return nil, nil
	}
	sp, dead := e.spares.take(shape{p.Runtime.Isolation, p.Runtime.Network, p.Runtime.Privileged})
	for _, d := range dead {
		_ = e.drop(ctx, d) // a sweep finds what cannot be removed now
	}
	if sp == nil {
		return nil, nil
	}
	s, err := e.adopt(f, p, sp)
	if err != nil {
		return nil, errors.Join(err, e.drop(context.WithoutCancel(ctx), sp))
	}
	sp.unlock() // from here on the job's own lock counts
	return s, nil
}

// adopt makes the sandbox the job's. The record says whose it is before the
// job's folder leads there: killed in between, it is a remainder to sweep.
func (e *Executor) adopt(f folder, p ci.Placement, sp *spare) (*Sandbox, error) {
	h, err := e.groups()
	if err != nil {
		return nil, err
	}
	rec := *sp.rec
	rec.Job = p.Job
	state := e.limit(h, &rec, p.Runtime)
	rec.Placed = e.placed(p.Runtime, &rec, sp.report, state)
	if err := sp.folder.write(&rec); err != nil {
		return nil, err
	}
	if err := os.Symlink(sp.folder.name, f.path()); err != nil {
		return nil, fmt.Errorf("hand over a sandbox that was made ahead: %w", err)
	}
	s := e.sandbox(f, &rec, sp.child)
	s.report = sp.report
	return s, nil
}
