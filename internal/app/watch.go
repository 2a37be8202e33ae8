package app

import (
	"context"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// watched is a build as its events make it, kept up to date by a goroutine of
// its own as long as it is watched.
type watched struct {
	mu      sync.Mutex
	build   ci.Build
	changed chan struct{} // closed and replaced at each event
	ended   bool          // no more events come
	err     error         // why not, when the build is not done
}

// watch begins to watch; the answer's second part ends it, and waits for its end.
func (a *App) watch(ctx context.Context, id ci.BuildID) (*watched, func()) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watched{changed: make(chan struct{})}
	var work sync.WaitGroup
	work.Go(func() {
		err := a.cfg.Engine.Follow(ctx, id, 1, func(e ci.Event) bool { return w.apply(e) == nil })
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = true
		if w.err == nil {
			w.err = err
		}
		close(w.changed)
	})
	return w, func() {
		cancel()
		work.Wait()
	}
}

func (w *watched) apply(e ci.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.build.Apply(e); err != nil {
		w.err = err
		return err
	}
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// until waits for yes to say so of the build, which it must not keep. A build
// that is done is asked a last time.
func (w *watched) until(ctx context.Context, yes func(*ci.Build) bool) error {
	for {
		w.mu.Lock()
		ok, changed, ended, err := w.build.ID != "" && yes(&w.build), w.changed, w.ended, w.err
		w.mu.Unlock()
		if ok {
			return nil
		}
		if ended {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// when calls do once yes says so, unless ctx ends before. The answer waits for
// that, and is called when ctx has ended.
func (w *watched) when(ctx context.Context, yes func(*ci.Build) bool, do func()) (wait func()) {
	var work sync.WaitGroup
	work.Go(func() {
		if w.until(ctx, yes) == nil {
			do()
		}
	})
	return work.Wait
}

// copy is the build as it stands, but for its steps, which change in place.
func (w *watched) copy() ci.Build {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.build
	b.Jobs = nil
	return b
}
