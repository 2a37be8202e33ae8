package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Reader reads one log and follows it. Read and Close may be called from
// different goroutines; Close ends a Read that waits.
type Reader struct {
	ctx   context.Context
	s     *Store
	base  string
	st    *step
	still bool // reads what there is, and follows nothing

	mu   sync.Mutex // held by Read
	log  source
	idx  source
	at   int64
	undo func() // ends the watch on other processes

	once sync.Once
	gone chan struct{}
}

// Tail reads the masked log from a byte on and follows it until the step is
// sealed; a step without a log is waited for. Any number may read; each reads
// the file at its own pace. Read fails with the context's cause when that ends.
func (s *Store) Tail(ctx context.Context, name ci.StepID, from int64) (io.ReadCloser, error) {
	return s.reader(ctx, name, from, false)
}

// Open reads the masked log from a byte on as far as it came, sealed or not.
// ErrNotFound when the step has none.
func (s *Store) Open(ctx context.Context, name ci.StepID, from int64) (io.ReadCloser, error) {
	return s.reader(ctx, name, from, true)
}

func (s *Store) reader(ctx context.Context, name ci.StepID, from int64, still bool) (*Reader, error) {
	if from < 0 {
		return nil, fmt.Errorf("read the log of step %q from byte %d: bytes count from 0: %w", name, from, ci.ErrInvalid)
	}
	base, err := s.readable(ctx, name)
	if err != nil {
		return nil, err
	}
	r := &Reader{ctx: ctx, s: s, base: base, still: still, at: from, gone: make(chan struct{})}
	if still {
		if r.log, r.idx, err = s.openBoth(base); err != nil {
			return nil, fmt.Errorf("read the log of step %q: %w", name, err)
		}
	}
	r.st = s.hold(base)
	return r, nil
}

// Read gives what there is, or waits for more; EOF at the end of a sealed log.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for {
		r.s.mu.Lock()
		wake, local := r.st.wake, r.st.writer != nil // before looking, so that no change is missed
		r.s.mu.Unlock()
		if err := r.ended(); err != nil {
			return 0, err
		}
		if r.still {
			n, err := r.read(p)
			if n == 0 && err == nil {
				err = io.EOF
			}
			return n, err
		}
		if n, err := r.look(p); n > 0 || err != nil {
			return n, err
		}
		if !local && r.undo == nil {
			// Another process may be the writer. Look again once the watch stands,
			// and when there is no folder to watch: somebody removed it just now.
			if err := r.watch(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("follow a log: %w", err)
			}
			continue
		}
		select {
		case <-wake:
		case <-r.ctx.Done():
		case <-r.gone:
		case <-r.s.closed:
		}
	}
}

func (r *Reader) ended() error {
	select {
	case <-r.gone:
		return fs.ErrClosed
	case <-r.s.closed:
		return fs.ErrClosed
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	default:
		return nil
	}
}

// look reads without waiting.
func (r *Reader) look(p []byte) (int, error) {
	if r.log == nil {
		log, idx, err := r.s.openBoth(r.base)
		if errors.Is(err, ci.ErrNotFound) {
			return 0, nil
		} else if err != nil {
			return 0, fmt.Errorf("follow a log: %w", err)
		}
		r.log, r.idx = log, idx
	}
	n, err := r.read(p)
	if n > 0 || err != nil {
		return n, err
	}
	rec, _, err := state(r.log, r.idx)
	if err != nil {
		return 0, err
	}
	if !rec.Sealed {
		return 0, r.replaced()
	}
	// What was written between the read and the seal is still to come.
	if n, err = r.read(p); n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// replaced is an error when the log is no longer the one that is being read:
// somebody removed it, and its end will never come.
func (r *Reader) replaced() error {
	f, plain := r.log.(plainFile)
	if !plain {
		return nil // what is packed is sealed
	}
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(r.base + logSuffix); err != nil || !os.SameFile(mine, now) {
		return fmt.Errorf("follow a log: %s was removed while it was read: %w", r.base+logSuffix, ci.ErrNotFound)
	}
	return nil
}

func (r *Reader) read(p []byte) (int, error) {
	n, err := r.log.ReadAt(p, r.at)
	r.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// watch has changes that other processes make wake us as well. It makes the
// folder of a log that is still to come; one that went with its log stays away.
func (r *Reader) watch() error {
	if r.log == nil {
		if err := os.MkdirAll(filepath.Dir(r.base), 0o700); err != nil {
			return err
		}
	}
	w, err := r.s.watcher()
	if err != nil {
		return err
	}
	r.undo, err = w.add(filepath.Dir(r.base))
	return err
}

// watcher starts the store's watch on its files when the first reader needs it.
func (s *Store) watcher() (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return nil, fs.ErrClosed
	default:
	}
	if s.watch == nil {
		w, err := newWatcher(s.changed)
		if err != nil {
			return nil, err
		}
		s.watch = w
	}
	return s.watch, nil
}

// Close ends the reader.
func (r *Reader) Close() error {
	r.once.Do(func() {
		close(r.gone)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.undo != nil {
			r.undo()
		}
		if r.log != nil {
			_ = r.log.Close() // read only
			_ = r.idx.Close()
		}
		r.s.drop(r.base, r.st)
	})
	return nil
}
