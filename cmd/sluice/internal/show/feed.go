package show

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Screen is a way of showing a build. Its methods are called one at a time.
type Screen interface {
	// Event shows an event that has been applied to b already.
	Event(e ci.Event, b *ci.Build)
	// Output shows a piece of what the step printed. The piece is only valid
	// during the call.
	Output(s *ci.StepRun, piece []byte)
	// Wants says whether the step's output is to be read at all.
	Wants(s *ci.StepRun) bool
}

// Tailer reads the logs of steps; see ci.Logs.
type Tailer interface {
	Tail(ctx context.Context, step ci.StepID, from int64) (io.ReadCloser, error)
}

// Feed brings events and output together, in order, and gives them to a screen.
// The jobs of a batch are fed side by side.
type Feed struct {
	Screen Screen
	Logs   Tailer

	mu    sync.Mutex // of what follows, and of the screen
	build ci.Build
	err   error

	lanes map[ci.JobID]*lane
	work  sync.WaitGroup
}

// lane is the stream of one job, shown by one goroutine.
type lane struct {
	mu      sync.Mutex
	queue   []ci.Event
	closed  bool
	wake    chan struct{}
	reading ci.StepID
	stop    context.CancelFunc // of the log that is being read
	lost    map[ci.StepID]bool // steps that ended without the end of a log
	shown   map[ci.StepID]chan struct{}
}

// Run shows the events that follow gives, until it returns, and returns when all
// has been shown.
func (f *Feed) Run(ctx context.Context, follow func(context.Context, func(ci.Event) bool) error) error {
	f.mu.Lock()
	f.lanes = map[ci.JobID]*lane{}
	f.mu.Unlock()
	err := follow(ctx, func(e ci.Event) bool {
		f.take(ctx, e)
		return true
	})
	f.drain()
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(err, f.err)
}

// drain waits until every lane has shown what it has.
func (f *Feed) drain() {
	f.mu.Lock()
	lanes := f.lanes
	f.lanes = map[ci.JobID]*lane{}
	f.mu.Unlock()
	for _, l := range lanes {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.nudge()
	}
	f.work.Wait()
}

func (f *Feed) take(ctx context.Context, e ci.Event) {
	switch e.Type {
	case ci.EventBuildFinished:
		f.drain()
		fallthrough
	case ci.EventBuildQueued, ci.EventBuildStarted, ci.EventCancel:
		f.show(e)
		return
	}
	l := f.lane(ctx, e.Job)
	l.mu.Lock()
	l.queue = append(l.queue, e)
	if e.Type == ci.EventStepFinished && e.Status == ci.Errored {
		// The log of a step that broke may have no end, or not exist at all.
		l.lost[e.Step] = true
		if l.reading == e.Step && l.stop != nil {
			l.stop()
		}
	}
	l.mu.Unlock()
	l.nudge()
}

func (f *Feed) lane(ctx context.Context, id ci.JobID) *lane {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[id]
	if l == nil {
		l = &lane{wake: make(chan struct{}, 1), lost: map[ci.StepID]bool{}, shown: map[ci.StepID]chan struct{}{}}
		f.lanes[id] = l
		f.work.Go(func() { f.run(ctx, l) })
	}
	return l
}

func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next waits for an event; false when there will be none.
func (l *lane) next() (ci.Event, bool) {
	for {
		l.mu.Lock()
		if len(l.queue) > 0 {
			e := l.queue[0]
			l.queue = l.queue[1:]
			l.mu.Unlock()
			return e, true
		}
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return ci.Event{}, false
		}
		<-l.wake
	}
}

func (f *Feed) run(ctx context.Context, l *lane) {
	for {
		e, ok := l.next()
		if !ok {
			return
		}
		f.show(e)
		switch e.Type {
		case ci.EventStepStarted:
			f.output(ctx, l, e.Step)
		case ci.EventStepFinished:
			l.mu.Lock()
			close(l.seen(e.Step))
			l.mu.Unlock()
		}
	}
}

// seen is the channel that is closed once the end of the step has been shown.
// Under l.mu.
func (l *lane) seen(id ci.StepID) chan struct{} {
	if l.shown[id] == nil {
		l.shown[id] = make(chan struct{})
	}
	return l.shown[id]
}

// Shown waits until the end of a step has been shown.
func (f *Feed) Shown(ctx context.Context, id ci.StepID) {
	f.mu.Lock()
	l := f.lanes[id.Job()]
	f.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	seen := l.seen(id)
	l.mu.Unlock()
	select {
	case <-seen:
	case <-ctx.Done():
	}
}

// Exclusively runs do while nothing is shown.
func (f *Feed) Exclusively(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// show applies the event to the build and puts it on the screen.
func (f *Feed) show(e ci.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.build.Apply(e); err != nil {
		f.err = errors.Join(f.err, err)
		return
	}
	f.Screen.Event(e, &f.build)
}

// output shows what the step prints until its log ends.
func (f *Feed) output(ctx context.Context, l *lane, id ci.StepID) {
	f.mu.Lock()
	var s ci.StepRun
	if j := f.build.Job(id.Job()); j != nil {
		if known := j.Step(id); known != nil {
			s = *known
		}
	}
	wanted := s.Kind != ci.KindPhase && f.Screen.Wants(&s)
	f.mu.Unlock()
	if !wanted {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l.mu.Lock()
	lost := l.lost[id]
	l.reading, l.stop = id, stop
	l.mu.Unlock()
	if lost {
		return
	}
	defer func() {
		l.mu.Lock()
		l.reading, l.stop = "", nil
		l.mu.Unlock()
	}()
	r, err := f.Logs.Tail(ctx, id, 0)
	if err != nil {
		f.note(err)
		return
	}
	defer r.Close()
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			f.mu.Lock()
			f.Screen.Output(&s, buf[:n])
			f.mu.Unlock()
		}
		if err != nil {
			if err != io.EOF && ctx.Err() == nil {
				f.note(err)
			}
			return
		}
	}
}

func (f *Feed) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}
