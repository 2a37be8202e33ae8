package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Shared is what a store offers to the engines of several servers. Each build is
// in the hands of one of them, by name; what another says of it is refused by
// Append with ci.ErrConflict.
//
// Beat says that a node lives and will for a while, and Nodes how often each has;
// ForgetNodes drops those that have not for long and have nothing in hand.
// Held lists the open builds of a node, Abandoned those of nodes that nobody knows.
// Waiting shows those of other nodes, as a list has them, that have waited for so
// long and none of whose jobs has begun. Take gives a build to a node: one that has
// begun only from a node that nobody knows or that has not beaten since gone was
// seen, else it is ci.ErrConflict. Wish asks the node that has a build to stop it, Wishes is what a
// node was asked, Granted ends a wish. Changed is closed at the next change.
type Shared interface {
	Beat(ctx context.Context, node, url string, length time.Duration) error
	ForgetNodes(ctx context.Context, silent time.Duration) error
	Held(ctx context.Context, node string) ([]ci.BuildID, error)
	Nodes(ctx context.Context) ([]ci.Node, error)
	Abandoned(ctx context.Context) ([]ci.BuildID, error)
	Waiting(ctx context.Context, node string, length time.Duration, limit int) ([]ci.Build, error)
	Take(ctx context.Context, id ci.BuildID, node string, gone ci.Node) error
	Wish(ctx context.Context, id ci.BuildID, cause string) error
	Wishes(ctx context.Context, node string) (map[ci.BuildID]string, error)
	Granted(ctx context.Context, id ci.BuildID) error
	Changed() <-chan struct{}
}

// Node is a server among those that share a store.
type Node struct {
	Name  string
	URL   func() string // where the others reach it
	Lease time.Duration // for how long it may be silent before others take its builds
}

const (
	lookAround   = time.Second            // how often a node looks at what others have
	lookPause    = 50 * time.Millisecond  // between two looks at what it has itself
	patientSince = 250 * time.Millisecond // how long a build waits before another node may have it
	forgotten    = 7 * 24 * time.Hour     // after how long a node without builds is no longer listed
	helpAtOnce   = 16                     // builds that a node takes from others at a look
)

// Join says that this node lives, and where. What it had in hand stays its own
// from then on. Without other nodes it does nothing.
func (e *Engine) Join(ctx context.Context) error {
	if e.cfg.Shared == nil {
		return nil
	}
	n := e.cfg.Node
	return e.cfg.Shared.Beat(ctx, n.Name, n.URL(), n.Lease)
}

// share works with the other nodes until ctx ends.
func (e *Engine) share(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { e.beat(ctx) })
	var last time.Time
	seen := sightings{}
	tick := time.NewTicker(lookAround)
	defer tick.Stop()
	for {
		changed := e.cfg.Shared.Changed()
		err := e.serveShared(ctx)
		if err == nil && time.Since(last) >= lookAround {
			last = time.Now()
			err = errors.Join(e.inherit(ctx, seen), e.help(ctx))
		}
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.Warn("what other servers have cannot be looked at; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookPause):
			}
		}
	}
}

func (e *Engine) beat(ctx context.Context) {
	tick := time.NewTicker(max(e.cfg.Node.Lease/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := e.Join(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Log.Warn("the other servers cannot be told that this one lives", "err", err)
		}
	}
}

// serveShared takes up builds that were given to this node, lets go of those that
// were taken, and stops those that another node was asked to stop.
func (e *Engine) serveShared(ctx context.Context) error {
	had := e.hands()
	held, err := e.cfg.Shared.Held(ctx, e.cfg.Node.Name)
	if err != nil {
		return err
	}
	for _, id := range held {
		delete(had, id)
		if err := e.adopt(ctx, id); err != nil {
			return err
		}
	}
	for _, b := range had { // they are done by now, or taken
		b.mu.Lock()
		if !b.lost && !b.rec.Status.Done() {
			e.refused(ctx, b)
		}
		b.mu.Unlock()
	}
	wishes, err := e.cfg.Shared.Wishes(ctx, e.cfg.Node.Name)
	if err != nil {
		return err
	}
	for id, cause := range wishes {
		why := errors.New(cause)
		if cause == ci.ErrCanceled.Error() {
			why = ci.ErrCanceled
		}
		if b, err := e.build(id); err == nil {
			if err := e.stop(ctx, b, why); err != nil {
				return err
			}
		}
		if err := e.cfg.Shared.Granted(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// sightings are the beats of other nodes, each with when it was first seen, by
// this node's clock that does not jump.
type sightings map[string]sighting

type sighting struct {
	node  ci.Node
	since time.Time
}

// silent lists the nodes that have not beaten for as long.
func (s sightings) silent(nodes []ci.Node, now time.Time, length time.Duration) (gone []ci.Node) {
	for _, n := range nodes {
		if old, ok := s[n.Name]; !ok || old.node.Beat != n.Beat {
			s[n.Name] = sighting{n, now}
		} else if now.Sub(old.since) >= length {
			gone = append(gone, n)
		}
	}
	return gone
}

// inherit takes over what nodes had that are gone.
func (e *Engine) inherit(ctx context.Context, seen sightings) error {
	nodes, err := e.cfg.Shared.Nodes(ctx)
	if err != nil {
		return err
	}
	lost, err := e.cfg.Shared.Abandoned(ctx)
	if err != nil {
		return err
	}
	const told = "a build was taken over, because its server is gone"
	for _, id := range lost {
		if err := e.take(ctx, id, ci.Node{}, told); err != nil {
			return err
		}
	}
	for _, gone := range seen.silent(nodes, time.Now(), e.cfg.Node.Lease) {
		if gone.Name == e.cfg.Node.Name {
			continue
		}
		held, err := e.cfg.Shared.Held(ctx, gone.Name)
		if err != nil {
			return err
		}
		for _, id := range held {
			if err := e.take(ctx, id, gone, told); err != nil {
				return err
			}
		}
	}
	return nil
}

// help takes builds that wait elsewhere, when there is room for them here.
func (e *Engine) help(ctx context.Context) error {
	free := min(e.queue.idle(), helpAtOnce)
	if free == 0 {
		return nil
	}
	list, err := e.cfg.Shared.Waiting(ctx, e.cfg.Node.Name, patientSince, 4*helpAtOnce)
	if err != nil {
		return err
	}
	for _, b := range list {
		if free == 0 {
			break
		}
		// One with a limit goes where the project's others are.
		if b.Limits.Builds > 0 || !e.queue.room(e.cfg.Demand(b.Runtime)) {
			continue
		}
		if err := e.take(ctx, b.ID, ci.Node{}, "a build that waited elsewhere was taken over"); err != nil {
			return err
		}
		free--
	}
	return nil
}

// take brings a build into this node's hands, unless another was faster.
func (e *Engine) take(ctx context.Context, id ci.BuildID, gone ci.Node, told string) error {
	switch err := e.cfg.Shared.Take(ctx, id, e.cfg.Node.Name, gone); {
	case errors.Is(err, ci.ErrConflict), errors.Is(err, ci.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	e.cfg.Log.Info(told, "build", id)
	return e.adopt(ctx, id)
}

// adopt takes in hand a build that is stored as this node's, unless it is already.
func (e *Engine) adopt(ctx context.Context, id ci.BuildID) error {
	if e.knows(id) {
		return nil
	}
	rec, events, err := e.cfg.Store.Load(ctx, id)
	if errors.Is(err, ci.ErrNotFound) {
		return nil
	}
	if err != nil || rec.Status.Done() || rec.Node != e.cfg.Node.Name || e.knows(id) {
		return err
	}
	return e.begin(ctx, recovered(rec, events))
}

// Has says whether the build is in this engine's hands.
func (e *Engine) Has(id ci.BuildID) bool {
	_, err := e.build(id)
	return err == nil
}

// hands are the builds that this engine has.
func (e *Engine) hands() map[ci.BuildID]*build {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.builds)
}

// knows says whether the build is in hand, or about to be.
func (e *Engine) knows(id ci.BuildID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.builds[id] != nil || e.coming[id]
}

// expect notes that a build is about to be stored, so that nobody adopts it
// before it is in hand. The answer ends that.
func (e *Engine) expect(id ci.BuildID) (known func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.coming[id] = true
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.coming, id)
	}
}

// refused looks at what became of a build that the store takes nothing more of.
// One that another node took, or that was deleted, is let go. Under b.mu.
func (e *Engine) refused(ctx context.Context, b *build) {
	rec, _, err := e.cfg.Store.Load(ctx, b.id)
	taken := err == nil && e.cfg.Shared != nil && rec.Node != e.cfg.Node.Name
	if !taken && !errors.Is(err, ci.ErrNotFound) {
		return
	}
	if taken {
		e.cfg.Log.Warn("another server has taken a build", "build", b.id, "server", rec.Node)
	}
	b.lost = true
	for _, en := range b.offered {
		en.gone.Store(true)
		e.queue.release(en.job)
	}
	clear(b.offered)
	close(b.changed)
	b.changed = make(chan struct{})
	e.forget(b.id)
}

// elsewhere follows a build that another node has in hand, from event number at on.
func (e *Engine) elsewhere(ctx context.Context, id ci.BuildID, at int64, f func(ci.Event) bool) error {
	for {
		changed := e.cfg.Shared.Changed()
		rec, events, err := e.cfg.Store.Load(ctx, id)
		if err != nil {
			return err
		}
		for ; at < int64(len(events)); at++ {
			if !f(events[at]) {
				return nil
			}
		}
		if rec.Status.Done() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-time.After(lookPause): // with what else changes until then
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// wish asks whoever has the build to stop it, and waits until that is recorded.
func (e *Engine) wish(ctx context.Context, id ci.BuildID, cause error) error {
	if err := e.cfg.Shared.Wish(ctx, id, cause.Error()); err != nil {
		return err
	}
	heard, stop := context.WithTimeout(ctx, e.cfg.Node.Lease)
	defer stop()
	err := e.elsewhere(heard, id, 0, func(ev ci.Event) bool { return ev.Type != ci.EventCancel })
	if err != nil && ctx.Err() == nil && heard.Err() != nil {
		return fmt.Errorf("build %s: the server that has it in hand does not answer; it is stopped as soon as one does: %w", id, ci.ErrUnavailable)
	}
	return err
}
