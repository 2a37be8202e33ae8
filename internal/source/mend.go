package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sys/unix"
)

// A mirror is not written durably, as it can be had again: after a host has
// crashed, files of it may be empty, cut or gone. Nobody looks for that before
// something goes wrong.

// errMirror marks what a damaged mirror may be the cause of.
var errMirror = errors.New("the mirror may be damaged")

// run runs a command in the mirror that a sound one gives no reason to fail.
func (m *mirror) run(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	out, err := run(ctx, cmd)
	return out, unexplained(ctx, err)
}

// unexplained marks an error for which nobody but the mirror can be to blame.
func unexplained(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, known := range []error{ci.ErrDenied, ci.ErrInvalid, ci.ErrUnavailable, unix.ENOSPC} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", errMirror, err)
}

// mended does what needs the mirror, and once more when the mirror turned out
// to be damaged and was made anew.
func (m *mirror) mended(ctx context.Context, do func() error) error {
	err := do()
	if !errors.Is(err, errMirror) {
		return err
	}
	if _, mendErr := m.mend(ctx); mendErr != nil {
		return errors.Join(err, mendErr)
	}
	return do()
}

// afterwards mends the mirror for the next build, when it is too late for this one.
func (m *mirror) afterwards(ctx context.Context, err error) error {
	if !errors.Is(err, errMirror) {
		return err
	}
	replaced, mendErr := m.mend(ctx)
	if !replaced {
		return errors.Join(err, mendErr)
	}
	return fmt.Errorf("%v; the mirror was damaged and has been replaced, start the build again: %w", err, ci.ErrUnavailable)
}

// mend looks the mirror over and puts a new one in its place if it is not sound.
// Another process may have done so before.
func (m *mirror) mend(ctx context.Context) (replaced bool, err error) {
	unlock, _, err := m.lock(ctx, m.dir+".lock", unix.LOCK_EX)
	if err != nil {
		return false, fmt.Errorf("wait for another fetch of %s: %w", m.r.url, err)
	}
	defer unlock()
	if _, err := run(ctx, m.git(ctx, "fsck", "--no-dangling", "--no-progress")); err == nil || ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	// Not waited for: whoever reads here may be waiting for us, with a submodule.
	reading, err := os.OpenFile(m.dir+".packs", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	defer reading.Close()
	if flock(reading, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, fmt.Errorf("the mirror of %s is damaged, and in use by another build: start this one again when that has ended: %w", m.r.url, ci.ErrUnavailable)
	}
	away, err := scratch(filepath.Dir(m.dir), "new-")
	if err != nil {
		return false, fmt.Errorf("replace the damaged mirror of %s: %w", m.r.url, err)
	}
	defer os.RemoveAll(away)
	if err = os.Rename(m.dir, filepath.Join(away, "damaged")); err == nil {
		err = m.create()
	}
	if err != nil {
		return false, fmt.Errorf("replace the damaged mirror of %s (or remove %s yourself): %w", m.r.url, m.dir, err)
	}
	return true, nil
}
