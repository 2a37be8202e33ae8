package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Events count in two steps. What is staged has been decided, and the decisions
// that follow build on it; what is stored too is what anybody is told. Most
// transitions are both at once (commit). The steps of a job need not be: with
// Config.Delay they are stored together a little later, since a process that is
// killed before finds the commands of the sandbox as they are and stages the same
// again. Only what a command builds on has to be stored before it starts.

// stage lets events count for the decisions to come. Under b.mu.
func (e *Engine) stage(b *build, events ...ci.Event) {
	now := e.cfg.Now()
	for _, ev := range events {
		ev.Seq, ev.Time = int64(len(b.events))+1, now
		if err := b.rec.Apply(ev); err != nil {
			// Decided by what was staged before: no input may bring this about.
			panic(fmt.Sprintf("engine: event does not apply: %v", err))
		}
		b.events = append(b.events, ev)
	}
}

// commit stores events, and what was staged before, as one transition. When it
// fails they do not count. Under b.mu.
func (e *Engine) commit(ctx context.Context, b *build, events ...ci.Event) error {
	before := len(b.events)
	e.stage(b, events...)
	if err := e.flush(ctx, b); err != nil {
		b.unstage(min(before, len(b.events)))
		return err
	}
	return nil
}

// flush stores what is staged and tells those who follow. What can never be
// stored, because another process has taken the build on, is dropped. Under b.mu.
func (e *Engine) flush(ctx context.Context, b *build) error {
	if b.stored == len(b.events) {
		return nil
	}
	if err := e.cfg.Store.Append(ctx, b.events[b.stored:]...); err != nil {
		if errors.Is(err, ci.ErrConflict) || errors.Is(err, ci.ErrNotFound) {
			b.unstage(b.stored)
			e.refused(ctx, b)
		}
		return err
	}
	b.stored, b.basis = len(b.events), false
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

// unstage takes the build back to its first n events. Under b.mu.
func (b *build) unstage(n int) {
	if n == len(b.events) {
		return
	}
	b.events = b.events[:n:n]
	b.rec = fold(b.events)
}

// fold makes the build that events tell of.
func fold(events []ci.Event) (rec ci.Build) {
	for _, ev := range events {
		if err := rec.Apply(ev); err != nil {
			panic(fmt.Sprintf("engine: an event that applied does not any more: %v", err))
		}
	}
	return rec
}

// soon stages the event of a step, to be stored with the next transition or
// after Config.Delay. Under b.mu.
func (e *Engine) soon(ctx context.Context, b *build, ev ci.Event, s ci.StepRun) error {
	starts := ev.Type == ci.EventStepStarted
	if e.cfg.Delay <= 0 || starts && s.Kind == ci.KindCommand && b.basis {
		return e.commit(ctx, b, ev)
	}
	e.stage(b, ev)
	// A source that was put in place would be put there again, over what commands
	// did to it, if a restart did not know of it.
	b.basis = b.basis || !starts && s.Kind == ci.KindAction
	if !b.late {
		b.late = true
		e.todo.later(b, time.Now().Add(e.cfg.Delay))
	}
	return nil
}

// flushLate stores what was staged and left for later. What the store cannot
// take goes with the build's next transition, or is tried again.
func (e *Engine) flushLate(ctx context.Context, b *build) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.late = false
	err := e.flush(ctx, b)
	if err != nil && !b.lost && b.stored < len(b.events) {
		b.late = true
		e.todo.later(b, time.Now().Add(storePause))
	}
	if err != nil && ctx.Err() == nil {
		e.cfg.Log.Warn("steps of a build cannot be stored yet", "build", b.id, "err", err)
	}
}
