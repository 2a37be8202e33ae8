package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Seal ends a log: readers come to its end, and nothing is appended any more. An
// open writer of this process is closed; one of another process is an
// ErrConflict. Output that a killed writer left unrecorded is kept. Sealing
// twice is fine, and so is sealing a step that printed nothing.
func (s *Store) Seal(ctx context.Context, name ci.StepID) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := s.seal(ctx, name); err != nil {
		return fmt.Errorf("seal the log of step %q: %w", name, err)
	}
	return nil
}

func (s *Store) seal(ctx context.Context, name ci.StepID) error {
	base, err := s.base(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	var open *Writer
	if st := s.steps[base]; st != nil {
		open = st.writer
	}
	s.mu.Unlock()
	if open != nil {
		if err := open.Close(); err != nil {
			return err
		}
	}
	w, err := s.open(ctx, name)
	if err != nil {
		return err
	}
	if err := errors.Join(w.seal(), w.release()); err != nil || s.opt.Blobs == nil {
		return err
	}
	// Who is told that the step has ended may look for its log on another machine.
	in, stop := context.WithTimeout(ctx, shipTime)
	defer stop()
	_ = s.ship(in, name) // its mark is there: Ship tries again, and says what is wrong
	return nil
}

func (w *Writer) seal() error {
	if w.sealed {
		return nil
	}
	more, err := countLines(w.log, w.noted.Log, w.size)
	if err != nil {
		return err
	}
	rec := w.noted
	rec.Time, rec.Log, rec.Lines, rec.Sealed = w.s.opt.Now(), w.size, w.lines+more, true
	if w.s.opt.Sync {
		if err := w.log.Sync(); err != nil {
			return err
		}
	}
	if w.s.opt.Blobs != nil && w.size > 0 {
		if err := w.s.markIn(unshippedDir, w.name); err != nil {
			return err
		}
	}
	if err := w.record(rec); err != nil {
		return err
	}
	if w.s.opt.Sync {
		if err := w.idx.Sync(); err != nil {
			return err
		}
	}
	w.sealed = true
	w.s.changed(w.base)
	if w.size < packLeast {
		return nil
	}
	return w.s.mark(w.name)
}

// Remove deletes all logs of a build that is done. Who reads one is told that it
// is gone.
func (s *Store) Remove(id ci.BuildID) error {
	dir, err := s.base(ci.StepID(id))
	if err == nil {
		err = errors.Join(os.RemoveAll(dir), os.RemoveAll(filepath.Join(s.dir, fetchedDir, filepath.Base(dir))))
	}
	if err != nil {
		return fmt.Errorf("remove the logs of build %s: %w", id, err)
	}
	s.changed("")
	return nil
}
