package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// keepInMemory is how much output stays out of the file system; most commands
// print less.
const keepInMemory = 32 << 10

// spool is the raw output of one step. It may be written from several
// goroutines, and read from any number at any place while it grows.
//
// The file has no name, so that a build can neither find nor change it and
// nothing is left when the agent dies.
type spool struct {
	dir string

	write sync.Mutex // held while writing; the rest of the state is under mu

	mu     sync.Mutex
	mem    []byte   // all of it, until there is a file
	file   *os.File // nil while the output is small
	size   int64    // of mem or file
	tail   []byte   // said instead of output that could not be kept
	closed bool
	grown  chan struct{} // closed and replaced when there is more; nil when nobody waits
}

// Write adds output. It never fails: output that cannot be kept is dropped, and
// readers are told where.
func (s *spool) Write(p []byte) (int, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.closed || s.tail != nil {
		return len(p), nil
	}
	if s.file == nil && len(s.mem)+len(p) <= keepInMemory {
		s.mu.Lock()
		s.mem = append(s.mem, p...)
		s.grow(len(p))
		s.mu.Unlock()
		return len(p), nil
	}
	n, err := s.toFile(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.tail = fmt.Appendf(nil, "\nsluice: output is lost from here on: %v; free some space in %s\n", reason(err), s.dir)
	}
	s.grow(n)
	return len(p), nil
}

// toFile appends to the file, which it makes when there is none yet.
func (s *spool) toFile(p []byte) (int, error) {
	if s.file == nil {
		f, err := unnamed(s.dir)
		if err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(s.mem, 0); err != nil {
			_ = f.Close()
			return 0, err
		}
		s.mu.Lock()
		s.file, s.mem = f, nil
		s.mu.Unlock()
	}
	return s.file.WriteAt(p, s.size)
}

func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (s *spool) grow(n int) {
	s.size += int64(n)
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}

// end says that the output is whole.
func (s *spool) end() {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.grow(0)
}

// read reads from off. With nothing there it gives the channel that is closed
// when that may have changed, or nil when the output has ended.
func (s *spool) read(p []byte, off int64) (n int, more <-chan struct{}, err error) {
	s.mu.Lock()
	size, file := s.size, s.file
	if off < size && file == nil {
		n = copy(p, s.mem[off:])
	}
	if off >= size && off < size+int64(len(s.tail)) {
		n = copy(p, s.tail[off-size:])
	}
	if off >= size+int64(len(s.tail)) && !s.closed {
		if s.grown == nil {
			s.grown = make(chan struct{})
		}
		more = s.grown
	}
	s.mu.Unlock()
	if off < size && file != nil {
		n, err = file.ReadAt(p[:min(int64(len(p)), size-off)], off)
		if n > 0 {
			err = nil
		}
	}
	return n, more, err
}

// unnamed makes a file that has no name.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "output")), nil
	}
	if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.EINVAL {
		return nil, &os.PathError{Op: "create", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, "output-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
