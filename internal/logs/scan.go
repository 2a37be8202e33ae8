package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Place is where a line begins.
type Place struct {
	Offset int64 // byte of the masked log
	Line   int64 // lines before it
}

// Line is a line of a log. Text, without the line end, is good until the next one.
type Line struct {
	Place
	Text []byte
	Next Place // where the line behind it begins
	Cut  bool  // Text is a piece of a line that is longer than MaxLine; all pieces have its number
	Open bool  // the log ended without a line end here
}

// MaxLine is how much of a line is held at once. What is longer comes in pieces.
const MaxLine = 256 << 10

// Lines splits what a reader gives, from a place on, into lines.
type Lines struct {
	r      io.Reader
	buf    []byte
	lo, hi int // of buf: what is still to be split
	at     Place
	cut    bool // at is within a line
	err    error
}

// NewLines reads lines from r, which begins at the place.
func NewLines(r io.Reader, from Place) *Lines {
	return &Lines{r: r, at: from, buf: make([]byte, 64<<10)}
}

// Next gives the next line; io.EOF at the end.
func (l *Lines) Next() (Line, error) {
	for searched := 0; ; {
		held := l.buf[l.lo:l.hi]
		if i := bytes.IndexByte(held[searched:], '\n'); i >= 0 && searched+i <= MaxLine {
			return l.line(searched+i, 1), nil
		}
		if searched = len(held); searched >= MaxLine {
			return l.line(MaxLine, 0), nil
		}
		if l.err != nil {
			if searched == 0 || !errors.Is(l.err, io.EOF) {
				return Line{}, l.err
			}
			whole := !l.cut
			out := l.line(searched, 0)
			out.Open, out.Cut = true, !whole
			return out, nil
		}
		l.fill()
	}
}

// line takes n bytes and as many line ends as ends says.
func (l *Lines) line(n, ends int) Line {
	out := Line{Place: l.at, Text: l.buf[l.lo : l.lo+n], Cut: l.cut || ends == 0}
	l.at.Offset += int64(n + ends)
	l.at.Line += int64(ends)
	l.lo += n + ends
	l.cut = ends == 0
	out.Next = l.at
	return out
}

// fill reads more behind what is held, which is at most a line.
func (l *Lines) fill() {
	if l.lo > 0 {
		copy(l.buf, l.buf[l.lo:l.hi])
		l.lo, l.hi = 0, l.hi-l.lo
	}
	if l.hi == len(l.buf) {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	n, err := l.r.Read(l.buf[l.hi:])
	l.hi += n
	l.err = err
}

// Times says when each byte of a log came, going forward. It is not safe from
// several goroutines.
type Times struct {
	s    *Store
	base string
	idx  source
	n    int64  // of the record in rec
	rec  record // the first that covers what was asked for last
}

// Times opens the times of a step's log. They are those of the appends, to about
// a tenth of a second. Close it.
func (s *Store) Times(name ci.StepID) (*Times, error) {
	base, err := s.readable(context.Background(), name)
	if err != nil {
		return nil, err
	}
	return &Times{s: s, base: base, n: -1}, nil
}

// At is the time at which the byte came. Offsets must not go back. For bytes that
// are so new that no record has them yet it is now.
func (t *Times) At(offset int64) (time.Time, error) {
	if t.rec.Log > offset {
		return t.rec.Time, nil
	}
	if t.idx == nil {
		log, idx, err := t.s.openBoth(t.base)
		if err != nil {
			return time.Time{}, err
		}
		_ = log.Close() // it was only opened
		t.idx = idx
	}
	size, err := t.idx.length()
	if err != nil {
		return time.Time{}, err
	}
	covers := func(r record) bool { return r.Log > offset }
	var ok bool
	if t.rec, ok = recordAt(t.idx, t.n+1); ok && covers(t.rec) {
		t.n++ // usually
		return t.rec.Time, nil
	}
	t.n = firstRecord(t.idx, size, covers)
	if t.rec, ok = recordAt(t.idx, t.n); !ok || !covers(t.rec) {
		// The last record may yet be replaced by one that covers more.
		t.rec, t.n = record{}, max(t.n-2, -1)
		return t.s.opt.Now(), nil
	}
	return t.rec.Time, nil
}

// Close lets go of the index.
func (t *Times) Close() error {
	if t.idx == nil {
		return nil
	}
	return t.idx.Close()
}

// PlaceOf finds where a line begins, counted from 0; ErrNotFound when the log has
// fewer lines so far.
func (s *Store) PlaceOf(ctx context.Context, name ci.StepID, line int64) (Place, error) {
	at, err := s.LineStart(ctx, name, line)
	return Place{at, line}, err
}

// PlaceSince finds the first line that came at a time or later; the end of the
// log when there is none. ErrNotFound when the step has no log.
func (s *Store) PlaceSince(ctx context.Context, name ci.StepID, since time.Time) (Place, error) {
	return s.place(ctx, name, func(idx source, size int64) record {
		return searchIndex(idx, size, func(r record) bool { return !r.Time.Before(since) })
	})
}

// PlaceLast finds where the last n lines begin, a last one without its end among
// them, and says how many there are of them. ErrNotFound when the step has no log.
func (s *Store) PlaceLast(ctx context.Context, name ci.StepID, n int64) (at Place, lines int64, err error) {
	info, err := s.Stat(name)
	if err != nil {
		return Place{}, 0, err
	}
	all := info.Lines
	if end, err := s.PlaceOf(ctx, name, all); err != nil || end.Offset < info.Size { // a line without its end
		all++
	}
	from := max(all-n, 0)
	at, err = s.PlaceOf(ctx, name, from)
	return at, all - from, err
}

// place finds a record, and the first line that begins with what came behind it.
func (s *Store) place(ctx context.Context, name ci.StepID, find func(idx source, size int64) record) (at Place, err error) {
	base, err := s.readable(ctx, name)
	if err != nil {
		return Place{}, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("log of step %q: %w", name, err)
		}
	}()
	log, idx, err := s.openBoth(base)
	if err != nil {
		return Place{}, err
	}
	defer log.Close()
	defer idx.Close()
	size, err := idx.length()
	if err != nil {
		return Place{}, err
	}
	rec := find(idx, size)
	if rec.Log == 0 {
		return Place{}, nil
	}
	var before [1]byte
	if _, err := log.ReadAt(before[:], rec.Log-1); err != nil {
		return Place{}, err
	}
	if before[0] == '\n' {
		return Place{rec.Log, rec.Lines}, nil
	}
	// The line came earlier, but for its rest.
	offset, err := scanLines(ctx, log, rec.Log, 1)
	if errors.Is(err, ci.ErrNotFound) { // and has no end yet
		offset, err = log.length()
	}
	return Place{offset, rec.Lines + 1}, err
}
