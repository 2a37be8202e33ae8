package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/runner"
)

// noteSandbox writes down a sandbox that was opened, so that 'sluice shell' finds
// it while the build runs.
func (s *session) noteSandbox(job ci.JobID, executor string, r ci.Runtime, _ ci.Sandbox) {
	h := held{Job: job, Executor: executor, Runtime: r, Source: s.req.source.Location, Since: time.Now(), Session: "build"}
	if err := s.claim.note(h); err != nil {
		s.warn(err.Error() + "; 'sluice shell' will not find it")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, h)
}

// onFailure remembers where a command failed, and opens a shell there if that was
// asked for.
func (s *session) onFailure(ctx context.Context, f runner.Failure) {
	s.mu.Lock()
	for i := range s.kept {
		if h := &s.kept[i]; h.Job == f.Job {
			h.Shell, h.User, h.Session, h.Why = f.Shell, f.User, f.Session, place(f.Step)
		}
	}
	s.mu.Unlock()
	if !s.flags.shell {
		return
	}
	s.screen.feed.Shown(ctx, f.Step.ID)
	s.screen.feed.Exclusively(func() {
		s.screen.suspend()
		fmt.Fprintf(os.Stderr, "sluice: a shell where %s failed; leave it with 'exit', and the build goes on\n", place(f.Step))
		if err := openShell(ctx, f.Sandbox, ci.Terminal{Shell: f.Shell, User: f.User, Session: f.Session}); err != nil {
			warn("shell: " + err.Error())
		}
	})
}

func place(s ci.StepRun) string {
	if s.Pos.Line > 0 {
		return fmt.Sprintf("%s:%d", s.Pos.File, s.Pos.Line)
	}
	return string(s.Phase)
}

// keep is runner.Config.Keep: the sandbox of a build that went wrong stays, but
// not of one that the user himself stopped.
func (s *session) keep(run ci.JobRun, _ ci.Sandbox) bool {
	if run.Status.OK() || run.Status == ci.Canceled || run.Status == ci.Skipped {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.kept {
		h := &s.kept[i]
		if h.Job != run.ID {
			continue
		}
		h.Kept = true
		if err := s.claim.note(*h); err != nil {
			warn(err.Error() + "; the sandbox is not kept")
			h.Kept = false
			return false
		}
		return true
	}
	return false
}

// notes say how to enter what was kept.
func (s *session) notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var notes []string
	for _, h := range s.kept {
		if h.Kept {
			notes = append(notes, fmt.Sprintf("Sandbox kept. Enter it: sluice shell %s   Remove it: sluice sweep %s", h.Job, h.Job))
		}
	}
	return notes
}

// openShell joins this terminal to a shell in the sandbox until that ends.
func openShell(ctx context.Context, sandbox ci.Sandbox, t ci.Terminal) error {
	in, ok := sandbox.(ci.Interactive)
	if !ok {
		return fmt.Errorf("this executor has no terminals: %w", ci.ErrUnavailable)
	}
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return fmt.Errorf("standard input is not a terminal: %w", ci.ErrUnavailable)
	}
	before, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	defer func() { _ = term.Restore(fd, before) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if name, ok := os.LookupEnv("TERM"); ok {
		t.Env = append(t.Env, "TERM="+name)
	}
	keys, err := newKeys(os.Stdin)
	if err != nil {
		return err
	}
	defer keys.stop()
	t.In, t.Out, t.Size = keys, os.Stdout, windowSizes(ctx, fd)
	_, err = in.Terminal(ctx, t)
	return err
}

// windowSizes gives the size of the terminal, at once and whenever it changes.
func windowSizes(ctx context.Context, fd int) <-chan [2]uint16 {
	sizes := make(chan [2]uint16, 1)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	changed <- syscall.SIGWINCH
	go func() { // ends with ctx, which the caller ends
		defer signal.Stop(changed)
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			w, h, err := term.GetSize(fd)
			if err != nil {
				continue
			}
			select {
			case sizes <- [2]uint16{uint16(w), uint16(h)}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sizes
}
