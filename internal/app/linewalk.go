package app

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/logs"
)

// lineWalk goes through the output of steps, line by line, and hands on those
// that are asked for. It holds a line, and the lines before it that may become
// its context.
type lineWalk struct {
	a       *App
	q       LineQuery
	match   func([]byte) bool // nil = every line
	take    func(LogLine, linesAt) error
	pause   func(slow bool) bool // says to stop for now; slow: there was time to look at the clock; nil = never
	held    []heldLine
	bytes   int // of held
	after   int // lines behind a match that are still to be shown
	matches int64
	scanned int64
}

// heldLine is one that may become context of a match behind it.
type heldLine struct {
	at   logs.Place
	next logs.Place
	came time.Time // zero = not looked up
	text []byte
	cut  bool
}

// mostHeld bounds the text of the lines that are held.
const mostHeld = 4 << 20

// looksAtOnce is how many lines are looked at between two looks at the clock.
const looksAtOnce = 512

func newLineWalk(a *App, q LineQuery, take func(LogLine, linesAt) error) *lineWalk {
	w := &lineWalk{a: a, q: q, take: take}
	w.match, _ = q.matcher() // it was checked
	return w
}

// steps goes through what there is of them, from a place on. next says where to go
// on when it was told to pause; nil at the end.
func (w *lineWalk) steps(ctx context.Context, steps []ci.StepRun, at linesAt) (next *linesAt, err error) {
	found := at.step == ""
	for i := range steps {
		s := &steps[i]
		from := linesAt{step: s.ID}
		if s.ID == at.step {
			from, found = at, true
		}
		if !found {
			continue
		}
		if from, err = w.start(ctx, s, from); err != nil {
			return nil, err
		}
		r, err := w.a.cfg.Logs.Open(ctx, s.ID, from.place.Offset)
		if errors.Is(err, ci.ErrNotFound) {
			continue // it printed nothing
		}
		if err != nil {
			return nil, err
		}
		info, err := w.a.cfg.Logs.Stat(s.ID)
		if err == nil {
			next, err = w.step(ctx, s, r, from, info.Sealed || s.Status.Done())
		}
		if err = errors.Join(err, r.Close()); err != nil || next != nil {
			return next, err
		}
	}
	if !found {
		return nil, &Invalid{Query: true, Fields: []Field{{"after", "is not of these steps: begin without it"}}}
	}
	return nil, nil
}

// step goes through the log of one step, which r gives. final says that a last
// line without its end is whole.
func (w *lineWalk) step(ctx context.Context, s *ci.StepRun, r io.Reader, from linesAt, final bool) (next *linesAt, err error) {
	times, err := w.a.cfg.Logs.Times(s.ID)
	if err != nil {
		return nil, err
	}
	defer times.Close()
	w.held, w.bytes, w.after = nil, 0, from.after
	lines := logs.NewLines(r, from.place)
	for n := 1; ; n++ {
		l, err := lines.Next()
		if errors.Is(err, io.EOF) || err == nil && l.Open && !final {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		w.scanned += l.Next.Offset - l.Offset
		if w.q.To > 0 && l.Line >= w.q.To {
			return nil, nil
		}
		over, err := w.line(s, l, times)
		if over || err != nil {
			return nil, err
		}
		if w.pause != nil && w.pause(n%looksAtOnce == 0) {
			return w.resume(s, l.Next), nil
		}
		if n%looksAtOnce == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// start passes over what came before Since, without reading it.
func (w *lineWalk) start(ctx context.Context, s *ci.StepRun, from linesAt) (linesAt, error) {
	if w.q.Since.IsZero() {
		return from, nil
	}
	place, err := w.a.cfg.Logs.PlaceSince(ctx, s.ID, w.q.Since)
	switch {
	case errors.Is(err, ci.ErrNotFound):
		return from, nil
	case err == nil && place.Offset > from.place.Offset:
		from.place = place
	}
	return from, err
}

// resume is where to go on: at the lines that may be context of what comes.
func (w *lineWalk) resume(s *ci.StepRun, place logs.Place) *linesAt {
	if len(w.held) > 0 {
		place = w.held[0].at
	}
	return &linesAt{step: s.ID, place: place, after: w.after}
}

// line looks at one; over says that none of the step's that follow is wanted.
func (w *lineWalk) line(s *ci.StepRun, l logs.Line, times *logs.Times) (over bool, err error) {
	this := heldLine{at: l.Place, next: l.Next, text: l.Text, cut: l.Cut}
	if !w.q.Since.IsZero() || !w.q.Until.IsZero() {
		if this.came, err = times.At(l.Offset); err != nil {
			return false, err
		}
		if !w.q.Until.IsZero() && !this.came.Before(w.q.Until) {
			return true, nil
		}
		if this.came.Before(w.q.Since) {
			return false, nil
		}
	}
	if w.match == nil || w.match(l.Text) {
		w.matches++
		for _, h := range w.held {
			if err := w.show(s, h, true, times); err != nil {
				return false, err
			}
		}
		w.held, w.bytes, w.after = w.held[:0], 0, w.q.Context
		if w.match == nil {
			w.after = 0
		}
		return false, w.show(s, this, false, times)
	}
	if w.q.Count || w.q.Context == 0 && w.after == 0 {
		return false, nil
	}
	if w.after > 0 {
		w.after--
		return false, w.show(s, this, true, times)
	}
	w.hold(this)
	return false, nil
}

// hold keeps the line for when the next one matches.
func (w *lineWalk) hold(l heldLine) {
	l.text = append([]byte(nil), l.text...)
	w.held = append(w.held, l)
	w.bytes += len(l.text)
	for len(w.held) > w.q.Context || w.bytes > mostHeld {
		w.bytes -= len(w.held[0].text)
		w.held = w.held[1:]
	}
}

func (w *lineWalk) show(s *ci.StepRun, l heldLine, context bool, times *logs.Times) error {
	if w.q.Count {
		return nil
	}
	if l.came.IsZero() {
		var err error
		if l.came, err = times.At(l.at.Offset); err != nil {
			return err
		}
	}
	line := LogLine{
		Step: stepPath(s.ID), Line: l.at.Line + 1, Time: l.came.UTC(), Context: context, Cut: l.cut,
		Text: strings.ToValidUTF8(string(l.text), "\uFFFD"),
	}
	return w.take(line, linesAt{step: s.ID, place: l.next, after: w.after})
}
