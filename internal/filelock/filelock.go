// Package filelock takes locks of files that end with the process that has them
// (flock). It owns how such a lock is waited for; what it protects is its users'.
//
// A process that was killed can have its locks for a moment longer: what it was
// just forking has copies of its open files until it has become another program.
// So whoever takes over from a killed process waits a little instead of giving up.
//
// Invariant: a lock that Lock or TryLock gave is the caller's until the file is closed.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTaken says that another has the lock.
var ErrTaken = errors.New("another process has the lock")

// TryLock takes the lock of an open file, or fails with ErrTaken.
func TryLock(f *os.File) error {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrTaken
	}
	return err
}

// Lock takes the lock of an open file, waiting for it until ctx ends: then it
// fails with ErrTaken and the context's cause, and the file is not the caller's
// any more, not even to close.
func Lock(ctx context.Context, f *os.File) error {
	if err := TryLock(f); !errors.Is(err, ErrTaken) {
		return err
	}
	got := make(chan error, 1)
	go func() { got <- flock(f, unix.LOCK_EX) }()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
	}
	// Nothing calls a waiting flock off. When it has the lock, it is let go of.
	go func() {
		<-got
		_ = f.Close()
	}()
	return fmt.Errorf("%w: %w", ErrTaken, context.Cause(ctx))
}

// Close lets go of the lock and closes the file. Closing alone would leave the
// lock to what this process is just forking.
func Close(f *os.File) error {
	return errors.Join(flock(f, unix.LOCK_UN), f.Close())
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}
