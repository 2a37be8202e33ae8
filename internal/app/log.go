package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// LogQuery asks for the log of a whole build.
type LogQuery struct {
	From   int64 // byte of the whole from which on
	Follow bool  // wait for more until the build is done
	All    bool  // with headings, and with what Sluice itself did and said
}

// LogWrite writes a log, calling flush whenever there is nothing more for now,
// and returns when it is at its end or ctx ends. It leaves nothing running behind.
type LogWrite func(ctx context.Context, w io.Writer, flush func() error) error

// Log is the log of a whole build, ready to be written: the output of its
// commands and nothing else, unless all was asked for; job after job, in the
// order in which they were queued, so that a byte keeps its place for ever.
func (a *App) Log(ctx context.Context, project string, number int64, q LogQuery) (write LogWrite, err error) {
	id, _, err := a.find(ctx, viewBuild, project, number)
	if err != nil {
		return nil, err
	}
	if err := a.removed(ctx, id, ci.PartLogs, project, number); err != nil {
		return nil, err
	}
	if q.From < 0 {
		return nil, &Invalid{Query: true, Fields: []Field{{"from", "bytes count from 0"}}}
	}
	return func(ctx context.Context, w io.Writer, flush func() error) error {
		out := &logOut{a: a, w: w, flush: flush, skip: q.From, all: q.All}
		if !q.Follow {
			b, err := a.cfg.Engine.Build(ctx, id)
			if err != nil {
				return err
			}
			return out.stored(ctx, &b)
		}
		watched, undo := a.watch(ctx, id)
		defer undo()
		return out.follow(ctx, watched)
	}, nil
}

// logOut writes the log of a build piece by piece.
type logOut struct {
	a     *App
	w     io.Writer
	flush func() error // after what is worth seeing at once
	skip  int64        // bytes that are still to be left out
	all   bool
	multi bool // several jobs: their names are headings
	open  bool // the last line has no end yet
}

// stored writes what there is of a build.
func (o *logOut) stored(ctx context.Context, b *ci.Build) error {
	if err := o.begin(b); err != nil {
		return err
	}
	for i := range b.Jobs {
		j := &b.Jobs[i]
		if err := o.job(j); err != nil {
			return err
		}
		for k := range j.Steps {
			s := &j.Steps[k]
			if err := o.head(s); err != nil {
				return err
			}
			if o.wants(s) {
				if err := o.copyStored(ctx, s.ID, 0); err != nil {
					return err
				}
			}
			if s.Status.Done() {
				if err := o.foot(s); err != nil {
					return err
				}
			}
		}
	}
	return o.end(b)
}

// follow writes what there is and what comes, until the build is done.
func (o *logOut) follow(ctx context.Context, w *watched) error {
	if err := o.flush(); err != nil { // who follows knows that there is something to follow
		return err
	}
	if err := w.until(ctx, func(b *ci.Build) bool { return b.Status != ci.Queued }); err != nil {
		return err
	}
	begun := w.copy()
	if err := o.begin(&begun); err != nil {
		return err
	}
	for i := 0; ; i++ {
		var id ci.JobID
		err := w.until(ctx, func(b *ci.Build) bool {
			if i < len(b.Jobs) {
				id = b.Jobs[i].ID
			}
			return id != "" || b.Status.Done()
		})
		if err != nil {
			return err
		}
		if id == "" {
			ended := w.copy()
			return o.end(&ended)
		}
		if err := o.followJob(ctx, w, id); err != nil {
			return err
		}
	}
}

func (o *logOut) followJob(ctx context.Context, w *watched, id ci.JobID) error {
	for k := 0; ; k++ {
		var s ci.StepRun
		var job ci.JobRun
		err := w.until(ctx, func(b *ci.Build) bool {
			j := b.Job(id)
			if job = *j; k < len(j.Steps) {
				s = j.Steps[k]
			}
			return s.ID != "" || j.Status.Done()
		})
		if err == nil && k == 0 {
			err = o.job(&job)
		}
		if err != nil || s.ID == "" {
			return err
		}
		if err := o.head(&s); err != nil {
			return err
		}
		if s.Kind == ci.KindPhase {
			continue // it ends after the steps that it holds
		}
		if o.wants(&s) {
			if err := o.copyLive(ctx, w, s.ID); err != nil {
				return err
			}
		}
		if !o.all {
			continue
		}
		err = w.until(ctx, func(b *ci.Build) bool {
			j := b.Job(id)
			s = *j.Step(s.ID)
			return s.Status.Done() || j.Status.Done()
		})
		if err == nil && s.Status.Done() {
			err = o.foot(&s)
		}
		if err != nil {
			return err
		}
	}
}

// wants says whether a step's log is part of what was asked for.
func (o *logOut) wants(s *ci.StepRun) bool {
	return s.Kind == ci.KindCommand || o.all && s.Kind == ci.KindAction
}

// begin and the like write what is Sluice's own. All of it depends only on what
// no longer changes, so that places in the log stay.
func (o *logOut) begin(b *ci.Build) error {
	o.multi = b.Plan != nil && len(b.Plan.Jobs) > 1
	if b.Plan == nil || !o.all {
		return nil
	}
	for _, p := range b.Plan.Warnings {
		if err := o.line(p.String()); err != nil {
			return err
		}
	}
	return nil
}

func (o *logOut) job(j *ci.JobRun) error {
	if !o.all || !o.multi {
		return nil
	}
	return o.line("=== job " + jobName(j.ID))
}

func (o *logOut) head(s *ci.StepRun) error {
	if !o.all {
		return nil
	}
	switch s.Kind {
	case ci.KindPhase:
		return o.line("=== " + string(s.Phase))
	case ci.KindCommand:
		return o.line("$ " + strings.ReplaceAll(strings.TrimRight(s.Title, "\n"), "\n", "\n> "))
	}
	return o.line("--- " + s.Title)
}

func (o *logOut) foot(s *ci.StepRun) error {
	if !o.all || s.Status.OK() || s.Kind == ci.KindPhase {
		return nil
	}
	text := string(s.Status)
	if len(s.Contexts) > 0 {
		text += ": " + s.Contexts[0].Message
	}
	return o.line("!!! " + text)
}

func (o *logOut) end(b *ci.Build) error {
	if !o.all || !b.Status.Done() {
		return nil
	}
	for _, p := range b.Problems {
		if err := o.line(p.String()); err != nil {
			return err
		}
	}
	text := "=== " + string(b.Status)
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return o.line(text)
}

// line writes a line of Sluice's own, on a line of its own.
func (o *logOut) line(text string) error {
	if o.open {
		text = "\n" + text
	}
	if _, err := o.Write([]byte(text + "\n")); err != nil {
		return err
	}
	return o.flush()
}

// Write passes on what is not to be left out.
func (o *logOut) Write(p []byte) (int, error) {
	if len(p) > 0 {
		o.open = p[len(p)-1] != '\n'
	}
	n := min(o.skip, int64(len(p)))
	o.skip -= n
	if int(n) == len(p) {
		return len(p), nil
	}
	m, err := o.w.Write(p[n:])
	return int(n) + m, err
}

// copyStored writes a step's log from a byte on as far as it came.
func (o *logOut) copyStored(ctx context.Context, id ci.StepID, from int64) error {
	info, err := o.a.cfg.Logs.Stat(id)
	if errors.Is(err, ci.ErrNotFound) {
		return nil // it printed nothing, or was never begun
	}
	if err != nil {
		return err
	}
	if left := info.Size - from; left > 0 && o.skip > 0 {
		// Of what is skipped only the last byte matters, for the line that follows it.
		unread := min(o.skip, left) - 1
		o.skip -= unread
		from += unread
	}
	r, err := o.a.cfg.Logs.Open(ctx, id, from)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{o}, io.LimitReader(r, info.Size-from), make([]byte, copyBlock))
	return err
}

const copyBlock = 64 << 10

// copyLive writes a step's log and follows it until it is sealed. Where the step
// is over and the log was never sealed, because its sandbox or its server went
// away, what there is of it is all that comes.
func (o *logOut) copyLive(ctx context.Context, w *watched, id ci.StepID) error {
	if info, err := o.a.cfg.Logs.Stat(id); err == nil && info.Sealed {
		if err := o.copyStored(ctx, id, 0); err != nil {
			return err
		}
		return o.flush() // the next step may say nothing for a while
	}
	r, err := o.a.live(ctx, w, id, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, copyBlock)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := o.Write(buf[:n]); err != nil {
				return err
			}
			if err := o.flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// liveLog reads a step's log and follows it until it is sealed. Where the step is
// over and the log was never sealed, because its sandbox or its server went away,
// what there is of it is all that comes.
type liveLog struct {
	a     *App
	ctx   context.Context // of the reading; Close ends it
	id    ci.StepID
	r     io.ReadCloser
	at    int64
	ended bool // r reads what there is, and follows nothing
	stop  func()
	over  func()
}

// live opens a log from a byte on. The answer is to be closed.
func (a *App) live(ctx context.Context, w *watched, id ci.StepID, from int64) (*liveLog, error) {
	tail, stop := context.WithCancel(ctx)
	r, err := a.cfg.Logs.Tail(tail, id, from)
	if err != nil {
		stop()
		return nil, err
	}
	over := w.when(tail, func(b *ci.Build) bool {
		j := b.Job(id.Job())
		return j.Status.Done() || j.Step(id).Status.Done()
	}, func() {
		if info, err := a.cfg.Logs.Stat(id); err != nil || !info.Sealed {
			stop()
		}
	})
	return &liveLog{a: a, ctx: ctx, id: id, r: r, at: from, stop: stop, over: over}, nil
}

func (l *liveLog) Read(p []byte) (int, error) {
	for {
		n, err := l.r.Read(p)
		l.at += int64(n)
		if err == nil || l.ended || l.ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return n, err
		}
		l.ended = true
		_ = l.r.Close() // it was only read
		l.r, err = l.a.cfg.Logs.Open(l.ctx, l.id, l.at)
		if errors.Is(err, ci.ErrNotFound) {
			l.r, err = io.NopCloser(strings.NewReader("")), nil
		}
		if err != nil {
			l.r = io.NopCloser(strings.NewReader(""))
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// Close ends the reading, and waits for what worked for it.
func (l *liveLog) Close() error {
	l.stop()
	l.over()
	return l.r.Close()
}

// StepLog is the log of one step.
type StepLog struct {
	Size   int64 // of what there is
	Sealed bool  // no more will come
	app    *App
	build  ci.BuildID
	step   ci.StepRun
}

// Open reads from a byte on what there is.
func (l *StepLog) Open(ctx context.Context, from int64) (io.ReadCloser, error) {
	r, err := l.app.cfg.Logs.Open(ctx, l.step.ID, from)
	if errors.Is(err, ci.ErrNotFound) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return r, err
}

// Write writes from a byte on and follows until no more will come. It is as LogWrite.
func (l *StepLog) Write(ctx context.Context, from int64, w io.Writer, flush func() error) error {
	if l.step.Kind == ci.KindPhase {
		return nil // its commands have logs
	}
	watched, undo := l.app.watch(ctx, l.build)
	defer undo()
	err := watched.until(ctx, func(b *ci.Build) bool {
		j := b.Job(l.step.ID.Job())
		return j != nil && j.Step(l.step.ID) != nil
	})
	if err != nil {
		return err
	}
	out := &logOut{a: l.app, w: w, flush: flush, skip: from}
	return out.copyLive(ctx, watched, l.step.ID)
}

// StepLog finds the log of a step by its path in the build, such as "build/BUILD/0".
// A step without output has an empty log.
func (a *App) StepLog(ctx context.Context, project string, number int64, path string) (*StepLog, error) {
	build, s, err := a.step(ctx, project, number, path)
	if err != nil {
		return nil, err
	}
	if err := a.removed(ctx, build, ci.PartLogs, project, number); err != nil {
		return nil, err
	}
	l := &StepLog{Sealed: s.Status.Done(), app: a, build: build, step: s}
	info, err := a.cfg.Logs.Stat(s.ID)
	if err != nil && !errors.Is(err, ci.ErrNotFound) {
		return nil, fmt.Errorf("log of step %s: %w", path, err)
	}
	if err == nil {
		l.Size, l.Sealed = info.Size, l.Sealed || info.Sealed
	}
	return l, nil
}
