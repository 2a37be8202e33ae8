package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/filelock"
	"golang.org/x/sys/unix"
)

// A record is written for every append that is this long, and for shorter ones
// when the last record is older than recordEvery. What is not yet recorded is
// read again from the raw output after a kill; that costs little when it is little.
// Of the records of one stretch of recordBytes only the last is kept, with the
// time of the first, as long as no line begins in it that came later than
// recordSpan: the index stays small beside the log however slowly output comes,
// and says of each line when it came.
const (
	recordBytes = 4 << 10
	recordEvery = 50 * time.Millisecond
	recordSpan  = 100 * time.Millisecond
)

// Writer takes the raw output of one step. It is safe from several goroutines.
type Writer struct {
	s    *Store
	name ci.StepID
	base string
	st   *step

	mu     sync.Mutex
	locked *os.File // the log, which carries the lock
	log    file
	idx    file
	mask   stream
	start  int64     // raw offset at which mask began
	size   int64     // of the log
	lines  int64     // in the log
	broken bool      // the log ends within a line
	came   time.Time // when Write was called last
	noted  record    // the last one written
	wrote  time.Time // when that was
	torn   bool      // the log ended within a line then
	end    int64     // size of the index
	kept   int64     // size of the log at the record before noted; -1 when noted is not ours
	sealed bool      // found sealed: there is nothing to append
	closed bool
	err    error // the first write that went wrong; the writer is then of no more use
}

// Append opens the log of a step for writing, or makes it. The log is cut back
// to its last index record; Raw says from which raw byte to go on. A second
// writer of the same step, in this or another process, is an ErrConflict. The log
// of a sealed step is complete: its writer drops what it is given, which is what
// a process that was killed between the seal and the note of it replays.
func (s *Store) Append(ctx context.Context, name ci.StepID, mask []string) (ci.LogWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	w, err := s.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("append to the log of step %q: %w", name, err)
	}
	if err := w.recover(s.matcherFor(mask)); err != nil {
		_ = w.release()
		return nil, fmt.Errorf("append to the log of step %q: %w", name, err)
	}
	s.changed(w.base)
	return w, nil
}

// open makes the files of a log and claims it.
func (s *Store) open(ctx context.Context, name ci.StepID) (*Writer, error) {
	base, err := s.base(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return nil, err
	}
	w := &Writer{s: s, name: name, base: base, kept: -1}
	st := s.hold(base)
	s.mu.Lock()
	taken := st.writer != nil
	if !taken {
		st.writer, w.st = w, st
	}
	s.mu.Unlock()
	if taken {
		s.drop(base, st)
		return nil, fmt.Errorf("it has a writer already: %w", ci.ErrConflict)
	}
	if err := w.openFiles(ctx); err != nil {
		_ = w.release()
		return nil, err
	}
	return w, nil
}

func (w *Writer) openFiles(ctx context.Context) error {
	if packed, err := w.s.isPacked(w.base); packed || err != nil {
		return errors.Join(err, w.foundPacked())
	}
	log, err := w.s.openLocked(ctx, w.base+logSuffix)
	if err != nil {
		return err
	}
	w.log, w.locked = w.s.wrap(log), log
	// It may have been packed while we waited, and then this is another file.
	if packed, err := w.s.isPacked(w.base); packed || err != nil {
		return errors.Join(err, w.foundPacked(), os.Remove(w.base+logSuffix))
	}
	idx, err := os.OpenFile(w.base+indexSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	w.idx = w.s.wrap(idx)
	li, err := log.Stat()
	if err != nil {
		return err
	}
	xi, err := idx.Stat()
	if err != nil {
		return err
	}
	w.size = li.Size()
	w.noted, w.end, err = lastRecord(idx, xi.Size(), li.Size())
	w.lines, w.sealed = w.noted.Lines, w.noted.Sealed
	return err
}

// foundPacked takes note of a log that is complete and has no plain file any more.
func (w *Writer) foundPacked() error {
	log, idx, err := w.s.openBoth(w.base)
	if err != nil {
		return err
	}
	w.noted, w.size, err = state(log, idx)
	w.lines, w.sealed = w.noted.Lines, true
	return errors.Join(err, log.Close(), idx.Close())
}

// openLocked opens a file with a lock that goes with the process, however that ends.
func (s *Store) openLocked(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if s.opt.Patience == 0 {
		if err = filelock.TryLock(f); err != nil {
			_ = f.Close()
		}
	} else {
		patience, stop := context.WithTimeout(ctx, s.opt.Patience)
		defer stop()
		err = filelock.Lock(patience, f)
	}
	switch {
	case errors.Is(err, filelock.ErrTaken) && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, filelock.ErrTaken):
		return nil, fmt.Errorf("another process writes it: %w", ci.ErrConflict)
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// recover cuts the log back to the last record and takes up masking there.
func (w *Writer) recover(m *matcher) error {
	w.start = w.noted.Raw
	w.mask = resume(m, int64(w.noted.Covered))
	if w.sealed {
		return nil
	}
	if err := w.idx.Truncate(w.end); err != nil {
		return err
	}
	if err := w.log.Truncate(w.noted.Log); err != nil {
		return err
	}
	w.size = w.noted.Log
	return nil
}

// Raw is how many raw bytes were taken so far, also by earlier writers of the step.
func (w *Writer) Raw() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start + w.mask.pos
}

// Write masks p and appends it. Readers see it at once, but for bytes that may
// be the beginning of a secret.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := 0
	for done < len(p) {
		if err := w.usable(); err != nil {
			return done, err
		}
		b := p[done:min(len(p), done+blockSize)]
		if w.sealed {
			w.start += int64(len(b))
			done += len(b)
			continue
		}
		if w.err = w.take(b); w.err != nil {
			continue
		}
		done += len(b)
		w.s.changed(w.base)
	}
	return done, nil
}

// take appends a piece. What came a while ago and is not recorded yet gets a
// record of its own first: it did not come now.
func (w *Writer) take(b []byte) error {
	now := w.s.opt.Now()
	if w.size > w.noted.Log && now.Sub(w.came) >= recordEvery {
		if err := w.note(true); err != nil {
			return err
		}
	}
	w.came = now
	if err := w.put(w.mask.next(b)); err != nil {
		return err
	}
	return w.note(false)
}

func (w *Writer) usable() error {
	switch {
	case w.err != nil:
		return fmt.Errorf("write the log of step %q: %w", w.name, w.err)
	case w.closed:
		return fmt.Errorf("write the log of step %q: the writer is closed: %w", w.name, ci.ErrConflict)
	}
	return nil
}

func (w *Writer) put(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	n, err := w.log.WriteAt(out, w.size)
	w.size += int64(n)
	if w.s.opt.Written != nil {
		w.s.opt.Written(n)
	}
	w.lines += int64(bytes.Count(out[:n], newline))
	if n > 0 {
		w.broken = out[n-1] != '\n'
	}
	return err
}

// note records how far the log is complete, when it is time to or when it must.
func (w *Writer) note(must bool) error {
	raw, covered := w.mask.settled()
	rec := record{
		Time: w.came, Raw: w.start + raw, Covered: uint32(covered),
		Log: w.size, Lines: w.lines,
	}
	if rec.Raw == w.noted.Raw && rec.Covered == w.noted.Covered && rec.Log == w.noted.Log {
		return nil
	}
	if !must && rec.Log-w.noted.Log < recordBytes && rec.Time.Sub(w.wrote) < recordEvery && w.end > 0 {
		return nil
	}
	return w.record(rec)
}

// record adds to the index, or replaces the last record when the two belong
// together. If that is torn by a kill, the one before it holds.
func (w *Writer) record(rec record) error {
	at, kept, wrote := w.end, w.noted.Log, rec.Time
	if w.kept >= 0 && rec.Log-w.kept < recordBytes && (rec.Time.Sub(w.noted.Time) < recordSpan || !w.begins(rec)) {
		at, kept = w.end-recordSize, w.kept
		rec.Time = w.noted.Time
	}
	if _, err := w.idx.WriteAt(rec.append(make([]byte, 0, recordSize)), at); err != nil {
		return err
	}
	w.noted, w.wrote, w.torn, w.end, w.kept = rec, wrote, w.broken, at+recordSize, kept
	return nil
}

// begins says whether a line begins in what came since the last record.
func (w *Writer) begins(rec record) bool {
	began := func(lines int64, torn bool) int64 {
		if torn {
			lines++
		}
		return lines
	}
	return began(rec.Lines, w.broken) > began(w.noted.Lines, w.torn)
}

// Close shows what was held back and lets go of the log. What was held back is
// not recorded, so that a later writer meets it again: with what follows it may
// turn out to be a secret.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	err := w.err
	if err == nil && !w.sealed {
		if err = w.note(true); err == nil {
			err = w.put(w.mask.rest())
		}
	}
	if err = errors.Join(err, w.release()); err != nil {
		return fmt.Errorf("close the log of step %q: %w", w.name, err)
	}
	return nil
}

// release closes the files, which gives up the lock, and makes room for another writer.
func (w *Writer) release() error {
	var errs []error
	if w.locked != nil {
		// Closing alone would not do: a process that is being started right now has
		// a copy of the descriptor, and with it the lock, until it has become another.
		errs = append(errs, unix.Flock(int(w.locked.Fd()), unix.LOCK_UN))
	}
	for _, f := range []file{w.log, w.idx} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	w.s.mu.Lock()
	w.st.writer = nil
	w.st.changed() // readers must now look out for other processes
	w.s.mu.Unlock()
	w.s.drop(w.base, w.st)
	return errors.Join(errs...)
}
