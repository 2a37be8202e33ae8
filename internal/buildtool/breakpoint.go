package buildtool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// debugVariable is set in a build that may pause; its value says which build it
// is, for whoever wants to enter it.
const debugVariable = "SLUICE_DEBUG_SESSION"

// gate is the named pipe at which a breakpoint waits. Waiting on a pipe costs
// nothing and ends at the very moment of the resume.
func (t *tool) gate() string {
	dir := t.env("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	return filepath.Join(dir, ".codebuild-breakpoint")
}

// breakpoint pauses a build that is being debugged until codebuild-resume is run
// in the same sandbox. In any other build it does nothing.
func (t *tool) breakpoint(ctx context.Context) error {
	id := t.env(debugVariable)
	if id == "" {
		fmt.Fprintln(t.out, "codebuild-breakpoint: this is no debug session, so the build goes on (sluice run --shell or --keep makes it one)")
		return nil
	}
	gate := t.gate()
	if err := unix.Mkfifo(gate, 0o666); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("pause: %w", &os.PathError{Op: "mkfifo", Path: gate, Err: err})
	}
	// Whoever resumes may be another user than who paused (run-as).
	_ = os.Chmod(gate, 0o666) // where it is not ours, it was made so by its owner
	defer os.Remove(gate)
	fmt.Fprintf(t.out, "Build paused at a breakpoint in %s.\nEnter it:  sluice shell %s\nGo on:     codebuild-resume (in that shell)\nThe build's timeout goes on running.\n", t.dir, id)
	opened := make(chan error, 1)
	go func() { // an open that nobody answers ends with the process
		f, err := os.OpenFile(gate, os.O_RDONLY, 0)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			return fmt.Errorf("pause: %w", err)
		}
		fmt.Fprintln(t.out, "Build resumed.")
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// resume lets go a build that is paused at a breakpoint of the same sandbox.
func (t *tool) resume(context.Context) error {
	if t.env(debugVariable) == "" {
		fmt.Fprintln(t.out, "codebuild-resume: this is no debug session")
		return nil
	}
	f, err := os.OpenFile(t.gate(), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(t.out, "codebuild-resume: the build is not paused")
		return nil
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	fmt.Fprintln(t.out, "codebuild-resume: the build goes on")
	return f.Close()
}
