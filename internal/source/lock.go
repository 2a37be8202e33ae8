package source

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a lock that other processes see, and that ends with whoever holds it.
func (m *mirror) lock(ctx context.Context, path string, how int) (unlock func(), f *os.File, err error) {
	if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	err = flock(f, how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		if m.f.waiting != nil {
			m.f.waiting()
		}
		err = waitFlock(ctx, f, how)
	} else if err != nil {
		_ = f.Close()
	}
	if err != nil {
		return nil, nil, err
	}
	return func() { _ = f.Close() }, f, nil
}

// waitFlock waits for a lock until ctx ends; then f is no longer the caller's.
// Nothing ends a flock that waits, so one that nobody wants any more is left
// alone with its file: it gets the lock in its turn, and gives it up at once.
func waitFlock(ctx context.Context, f *os.File, how int) error {
	got := make(chan error) // unbuffered: either the caller takes the lock or the goroutine closes the file
	go func() {
		err := flock(f, how)
		select {
		case got <- err:
			if err == nil {
				return
			}
		case <-ctx.Done():
		}
		_ = f.Close()
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
