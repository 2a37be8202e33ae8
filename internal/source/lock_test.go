package source

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sys/unix"
)

// Who no longer waits for a lock does not keep it from others.
func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	m := &mirror{f: New(Options{})}
	unlock, _, err := m.lock(t.Context(), path, unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := &mirror{f: &Fetcher{waiting: func() { cancel(ci.ErrCanceled) }}}
		if _, _, err := gone.lock(ctx, path, unix.LOCK_EX); !errors.Is(err, ci.ErrCanceled) {
			t.Errorf("got %v, want the cause", err)
		}
	}
	waits, got := make(chan struct{}), make(chan error)
	patient := &mirror{f: &Fetcher{waiting: func() { close(waits) }}}
	go func() {
		unlock, _, err := patient.lock(t.Context(), path, unix.LOCK_SH)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	<-waits
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if unlock, _, err = m.lock(t.Context(), path, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	unlock()
}
