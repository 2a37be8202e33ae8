package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLockIsWaitedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, second, third := open(t, path), open(t, path), open(t, path)
	if err := TryLock(first); err != nil {
		t.Fatal(err)
	}
	if err := TryLock(second); !errors.Is(err, ErrTaken) {
		t.Errorf("got %v, want ErrTaken", err)
	}
	got := make(chan error, 1)
	go func() { got <- Lock(t.Context(), second) }()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	// One who gives up leaves nothing behind that would have the lock later.
	mine := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(mine)
	if err := Lock(ctx, third); !errors.Is(err, ErrTaken) || !errors.Is(err, mine) {
		t.Errorf("got %v, want ErrTaken and the cause", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	last := open(t, path)
	if err := Lock(t.Context(), last); err != nil {
		t.Error(err)
	}
	_ = last.Close()
}

// A process that is being forked has copies of the open files: whoever lets go of
// a lock lets go of it for them too.
func TestCloseLetsGoForCopies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, second := open(t, path), open(t, path)
	if err := TryLock(first); err != nil {
		t.Fatal(err)
	}
	fork, err := unix.Dup(int(first.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fork) }()
	if err := Close(first); err != nil {
		t.Fatal(err)
	}
	if err := TryLock(second); err != nil {
		t.Errorf("after Close: %v", err)
	}
	if err := Close(first); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: got %v", err)
	}
	if err := Close(second); err != nil {
		t.Error(err)
	}
}
