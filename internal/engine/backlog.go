package engine

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// backlog is what Run has to do: builds to compile, and those whose time in the
// queue is limited.
type backlog struct {
	mu     sync.Mutex
	builds []*build
	more   chan struct{} // holds one when there may be something to compile

	waits  deadlines
	sooner chan struct{} // holds one when the first deadline may have changed

	late   []overdue
	next   time.Time     // when the first of late is due; zero = there is none
	lately chan struct{} // holds one when next became sooner
}

// overdue is a build with staged events that are to be stored.
type overdue struct {
	at time.Time
	b  *build
}

func newBacklog() *backlog {
	return &backlog{more: make(chan struct{}, 1), sooner: make(chan struct{}, 1), lately: make(chan struct{}, 1)}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *backlog) push(b *build) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.builds = append(l.builds, b)
	poke(l.more)
}

// take waits for a build; nil when ctx has ended.
func (l *backlog) take(ctx context.Context) *build {
	for {
		l.mu.Lock()
		if len(l.builds) > 0 {
			b := l.builds[0]
			l.builds = l.builds[1:]
			if len(l.builds) > 0 {
				poke(l.more) // for the next worker
			}
			l.mu.Unlock()
			return b
		}
		l.mu.Unlock()
		select {
		case <-l.more:
		case <-ctx.Done():
			return nil
		}
	}
}

// watch keeps the deadline of a build that may not wait for ever.
func (l *backlog) watch(b *build) {
	if b.rec.Limits.Queue <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	heap.Push(&l.waits, deadline{at: b.rec.Queued.Add(b.rec.Limits.Queue), id: b.rec.ID})
	poke(l.sooner)
}

// due takes the builds whose time is over.
func (l *backlog) due(now time.Time) (over []ci.BuildID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waits) > 0 && !l.waits[0].at.After(now) {
		over = append(over, heap.Pop(&l.waits).(deadline).id)
	}
	return over
}

// first is when the next one's time is over; zero when there is none.
func (l *backlog) first() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waits) == 0 {
		return time.Time{}
	}
	return l.waits[0].at
}

type deadline struct {
	at time.Time
	id ci.BuildID
}

// deadlines is a heap, the soonest first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, k int) bool { return d[i].at.Before(d[k].at) }
func (d deadlines) Swap(i, k int)      { d[i], d[k] = d[k], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// storePause is how long what the store refused is left alone.
const storePause = time.Second

// Run compiles the builds that Start stored, and ends those that waited longer
// than they may, until ctx ends; then it returns when all it began has ended.
func (e *Engine) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range e.cfg.Compilers {
		wg.Go(func() {
			for b := e.todo.take(ctx); b != nil; b = e.todo.take(ctx) {
				e.compileNext(ctx, b)
			}
		})
	}
	wg.Go(func() { e.expire(ctx) })
	wg.Go(func() { e.storeLate(ctx) })
	if e.cfg.Shared != nil {
		wg.Go(func() { e.share(ctx) })
	}
	wg.Wait()
	return nil
}

// compileNext takes a build on. What the store could not take is tried again
// until it can: no build is forgotten because a disk was full for a while.
func (e *Engine) compileNext(ctx context.Context, b *build) {
	for {
		err := e.advance(ctx, b)
		if err == nil || ctx.Err() != nil || !e.knows(b.id) {
			return
		}
		e.cfg.Log.Error("a build cannot be taken on; trying again", "build", b.id, "err", err)
		select {
		case <-time.After(storePause):
		case <-ctx.Done():
		}
	}
}

// expire ends the builds whose queue timeout is over.
func (e *Engine) expire(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.todo.sooner:
		case <-timer.C:
		}
		now := e.cfg.Now()
		for _, id := range e.todo.due(now) {
			if err := e.timeOutQueued(ctx, id); err != nil && !errors.Is(err, ci.ErrNotFound) && ctx.Err() == nil {
				e.cfg.Log.Error("a build that waited too long cannot be ended; trying again", "build", id, "err", err)
				e.todo.retry(id, now.Add(storePause))
			}
		}
		if next := e.todo.first(); !next.IsZero() {
			timer.Reset(next.Sub(now))
		}
	}
}

func (l *backlog) retry(id ci.BuildID, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	heap.Push(&l.waits, deadline{at: at, id: id})
}

// timeOutQueued ends a build none of whose jobs ever began.
func (e *Engine) timeOutQueued(ctx context.Context, id ci.BuildID) error {
	b, err := e.build(id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	for i := range b.rec.Jobs {
		if !b.rec.Jobs[i].Started.IsZero() {
			b.mu.Unlock()
			return nil
		}
	}
	err = e.cancel(ctx, b, ci.ErrQueueTime)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return e.advance(ctx, b)
}

// later has Run store what is staged of a build, from at on.
func (l *backlog) later(b *build, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, overdue{at, b})
	if l.next.IsZero() || at.Before(l.next) {
		l.next = at
		poke(l.lately)
	}
}

// takeLate takes the builds that are due. next is when others are; zero = there are none.
func (l *backlog) takeLate(now time.Time) (due []*build, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = time.Time{}
	kept := l.late[:0]
	for _, o := range l.late {
		if !o.at.After(now) {
			due = append(due, o.b)
			continue
		}
		kept = append(kept, o)
		if l.next.IsZero() || o.at.Before(l.next) {
			l.next = o.at
		}
	}
	clear(l.late[len(kept):])
	l.late = kept
	return due, l.next
}

// lateAtOnce is how many builds are brought to the store at a time. It stores
// them together.
const lateAtOnce = 64

// storeLate stores what was staged, when it is due.
func (e *Engine) storeLate(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.todo.lately:
		case <-timer.C:
		}
		due, next := e.todo.takeLate(time.Now())
		for len(due) > 0 {
			n := min(len(due), lateAtOnce)
			var wg sync.WaitGroup
			for _, b := range due[:n] {
				wg.Go(func() { e.flushLate(ctx, b) })
			}
			wg.Wait()
			due = due[n:]
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}
