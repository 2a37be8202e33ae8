package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Options of a Store. The zero value is good.
type Options struct {
	Now func() time.Time // default: time.Now
	// Patience is how long Append and Seal wait for a log that another process has:
	// one that was killed a moment ago may have it still. 0 = not at all.
	Patience time.Duration
	Written  func(n int) // is told of each piece of output that was written; nil = nobody is
	// Blobs get the logs that are sealed, for servers on other machines to read. nil =
	// they stay here.
	Blobs ci.Blobs
	Sync  bool // Seal waits until the log is on the disk, for those who must not lose it with the power
}

// Store keeps the logs of steps below one directory. It is safe from several
// goroutines and from several processes at once; a step has one writer at a time.
type Store struct {
	dir  string
	opt  Options
	wrap func(file) file // tests stand between a writer and its files

	mu      sync.Mutex
	steps   map[string]*step // by base path; those that are written or followed
	secrets []string         // of the matcher made last
	matcher *matcher
	watch   *watcher
	closed  chan struct{}
	unpack  func() (*zstd.Decoder, error) // made when the first packed log is read
}

var _ ci.Logs = (*Store)(nil)

// step is what the writer and the readers of one log share in this process.
type step struct {
	refs   int
	wake   chan struct{} // closed and made anew when something changed
	writer *Writer
}

// file is what a writer does with its two files.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// Info is the state of a log.
type Info struct {
	Size    int64     // bytes of masked output
	Lines   int64     // line ends in it
	Sealed  bool      // no more will come
	Updated time.Time // of the last index record
}

// Open opens the logs below dir, which is made when it is missing.
func Open(dir string, opt Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Store{
		dir: abs, opt: opt, wrap: func(f file) file { return f },
		steps: map[string]*step{}, closed: make(chan struct{}), unpack: sync.OnceValues(newDecoder),
	}, nil
}

// Close ends all readers. Writers are closed by those who opened them.
func (s *Store) Close() error {
	s.mu.Lock()
	watch := s.watch
	s.watch = nil
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	if watch == nil {
		return nil
	}
	return watch.Close()
}

// hold gives the shared state of a log; drop it when done.
func (s *Store) hold(base string) *step {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.steps[base]
	if st == nil {
		st = &step{wake: make(chan struct{})}
		s.steps[base] = st
	}
	st.refs++
	return st
}

func (s *Store) drop(base string, st *step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.refs--; st.refs == 0 {
		delete(s.steps, base)
	}
}

// changed wakes those who follow the log; "" wakes all.
func (s *Store) changed(base string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if base == "" {
		for _, st := range s.steps {
			st.changed()
		}
	} else if st := s.steps[base]; st != nil {
		st.changed()
	}
}

func (st *step) changed() {
	if st.refs == 1 && st.writer != nil {
		return // the writer is alone
	}
	close(st.wake)
	st.wake = make(chan struct{})
}

// matcherFor keeps the matcher made last: the steps of a job share their secrets.
func (s *Store) matcherFor(secrets []string) *matcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.matcher == nil || !slices.Equal(s.secrets, secrets) {
		s.matcher, s.secrets = newMatcher(secrets), slices.Clone(secrets)
	}
	return s.matcher
}

// Stat tells the state of a log; ErrNotFound when the step has none.
func (s *Store) Stat(name ci.StepID) (Info, error) {
	base, err := s.readable(context.Background(), name)
	if err != nil {
		return Info{}, err
	}
	info, err := s.stat(base)
	if err != nil {
		return Info{}, fmt.Errorf("log of step %q: %w", name, err)
	}
	return info, nil
}

func (s *Store) stat(base string) (Info, error) {
	log, idx, err := s.openBoth(base)
	if err != nil {
		return Info{}, err
	}
	defer log.Close()
	defer idx.Close()
	rec, size, err := state(log, idx)
	if err != nil {
		return Info{}, err
	}
	info := Info{Size: size, Lines: rec.Lines, Sealed: rec.Sealed, Updated: rec.Time}
	if rec.Log < size { // what came since the record
		more, err := countLines(log, rec.Log, size)
		if err != nil {
			return Info{}, err
		}
		info.Lines += more
	}
	return info, nil
}

// LineStart gives the byte at which a line of the log begins, counted from 0;
// ErrNotFound when the log has fewer lines so far.
func (s *Store) LineStart(ctx context.Context, name ci.StepID, line int64) (int64, error) {
	base, err := s.readable(ctx, name)
	if err != nil {
		return 0, err
	}
	log, idx, err := s.openBoth(base)
	if err != nil {
		return 0, fmt.Errorf("log of step %q: %w", name, err)
	}
	defer log.Close()
	defer idx.Close()
	size, err := idx.length()
	if err != nil {
		return 0, fmt.Errorf("log of step %q: %w", name, err)
	}
	rec := searchIndex(idx, size, func(r record) bool { return r.Lines >= line })
	at, err := scanLines(ctx, log, rec.Log, line-rec.Lines)
	if err != nil {
		return 0, fmt.Errorf("line %d of the log of step %q: %w", line, name, err)
	}
	return at, nil
}

// source is a file of a log as readers see it, packed or not.
type source interface {
	io.ReaderAt
	io.Closer
	length() (int64, error)
}

// plainFile is one that is as it was written.
type plainFile struct{ *os.File }

func (f plainFile) length() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// openBoth opens the files of a log to read; ErrNotFound when there are none.
func (s *Store) openBoth(base string) (log, idx source, err error) {
	f, err := os.Open(base + logSuffix)
	if err == nil {
		log = plainFile{f}
	} else if errors.Is(err, fs.ErrNotExist) {
		log, err = s.openPacked(base + packedSuffix)
	}
	if err == nil {
		if f, err = os.Open(base + indexSuffix); err == nil {
			return log, plainFile{f}, nil
		}
		_ = log.Close() // it was only opened
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("nothing was written yet: %w", ci.ErrNotFound)
	}
	return nil, nil, err
}

// state reads the last record and the size of a log.
func state(log, idx source) (record, int64, error) {
	size, err := log.length()
	if err != nil {
		return record{}, 0, err
	}
	records, err := idx.length()
	if err != nil {
		return record{}, 0, err
	}
	rec, _, err := lastRecord(idx, records, size)
	return rec, size, err
}
