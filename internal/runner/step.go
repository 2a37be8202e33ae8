package runner

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
)

// deskError is the desk's refusal to take what is told.
type deskError struct{ err error }

func (e *deskError) Error() string { return e.err.Error() }
func (e *deskError) Unwrap() error { return e.err }

// fatal tells an error after which nothing more can be done in the job from one
// that only its own step has.
func fatal(ctx context.Context, err error) bool {
	var told *deskError
	return err != nil && (ctx.Err() != nil || errors.As(err, &told))
}

// begin tells the desk that a step starts, unless it was told before: then s is
// what was recorded, and done says that it has ended.
func (j *job) begin(ctx context.Context, s *ci.StepRun) (done bool, err error) {
	if old := j.a.Run.Step(s.ID); old != nil {
		*s = *old
		return s.Status.Done(), nil
	}
	s.Status = ci.Running
	if err := j.r.cfg.Desk.StepStarted(context.WithoutCancel(ctx), *s); err != nil {
		return false, &deskError{err}
	}
	return false, nil
}

// finish tells the desk how a step ended. A process that is being stopped tells
// nothing: the step goes on without it.
func (j *job) finish(ctx context.Context, s *ci.StepRun) error {
	if left(ctx) {
		return &deskError{errLeft}
	}
	if s.Ended.IsZero() {
		s.Ended = j.r.cfg.Now()
	}
	if err := j.r.cfg.Desk.StepFinished(context.WithoutCancel(ctx), *s); err != nil {
		return &deskError{err}
	}
	return nil
}

// action runs work of Sluice's own as a step with a log. What work returns as a
// failure or a fault marks the step, and is returned.
func (j *job) action(ctx context.Context, phase ci.Phase, name, title string, work func(context.Context, *ci.StepRun, io.Writer) error) error {
	s := ci.StepRun{ID: j.a.Run.ID.Step(string(phase) + "/" + name), Kind: ci.KindAction, Phase: phase, Title: title, Started: j.r.cfg.Now()}
	done, err := j.begin(ctx, &s)
	if err != nil {
		return err
	}
	if done {
		j.recall(&s)
		return recorded(&s)
	}
	log, err := j.r.cfg.Logs.Append(context.WithoutCancel(ctx), s.ID, j.mask)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", s.ID, err)
	}
	workErr := work(ctx, &s, log)
	if left(ctx) {
		_ = log.Close()
		return &deskError{errLeft}
	}
	if workErr != nil {
		logLine(log, "%s", workErr)
	}
	if err := j.seal(ctx, s.ID, log); err != nil && workErr == nil {
		workErr = err
	}
	var told *deskError
	if errors.As(workErr, &told) {
		return workErr
	}
	if workErr != nil {
		j.mark(ctx, &s, workErr)
	} else {
		s.Status = ci.Succeeded
	}
	j.recall(&s)
	if err := j.finish(ctx, &s); err != nil {
		return err
	}
	return workErr
}

// recorded is the error with which a step ended that an earlier process did.
func recorded(s *ci.StepRun) error {
	switch {
	case s.Status.OK():
		return nil
	case s.Status == ci.Failed && len(s.Contexts) > 0:
		return failf(s.Contexts[0].Code, "%s", reason(s))
	}
	return errors.New(reason(s))
}

func (j *job) seal(ctx context.Context, id ci.StepID, log ci.LogWriter) error {
	if err := log.Close(); err != nil {
		return fmt.Errorf("write log of %s: %w", id, err)
	}
	if err := j.r.cfg.Logs.Seal(context.WithoutCancel(ctx), id); err != nil {
		return fmt.Errorf("seal log of %s: %w", id, err)
	}
	return nil
}

// session is the name under which the sandbox carries state from command to
// command; "" for the old format, where each begins afresh.
func (j *job) session() string {
	if j.a.Job.FreshShell {
		return ""
	}
	return "build"
}

// script runs one script of the definition or of Sluice as the step s, its
// output into the step's log. The answer is in s.Exit; an error is a fault.
func (j *job) script(ctx context.Context, s *ci.StepRun, c ci.Command) error {
	log, err := j.r.cfg.Logs.Append(context.WithoutCancel(ctx), s.ID, j.mask)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", s.ID, err)
	}
	exit, err := j.pump(ctx, c, log)
	if left(ctx) {
		_ = log.Close() // not sealed: the next process goes on writing it
		return &deskError{errLeft}
	}
	if sealErr := j.seal(ctx, s.ID, log); err == nil {
		err = sealErr
	}
	if err != nil {
		return err
	}
	s.Exit = &exit
	return nil
}

// pump starts the command, or finds it, and copies its output from where the
// log ends until it has ended. When ctx ends the command is stopped, and what it
// still says is kept.
func (j *job) pump(ctx context.Context, c ci.Command, log ci.LogWriter) (ci.Exit, error) {
	keep := context.WithoutCancel(ctx)
	p, err := j.sandbox.Start(keep, c)
	if err != nil {
		return ci.Exit{}, fmt.Errorf("start command: %w", err)
	}
	out, err := p.Output(keep, log.Raw())
	if err != nil {
		return ci.Exit{}, fmt.Errorf("read output: %w", err)
	}
	stopped := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(stopped)
		if left(ctx) {
			_ = out.Close() // the process is being stopped, not the job: let go of it
			return
		}
		_ = p.Stop(keep, j.r.cfg.Grace)
	})
	_, copyErr := io.Copy(log, out)
	if !undo() {
		<-stopped
	}
	_ = out.Close()
	if left(ctx) {
		return ci.Exit{}, &deskError{errLeft}
	}
	exit, err := p.Wait(keep)
	if err != nil {
		return ci.Exit{}, fmt.Errorf("the sandbox is gone: %w", err)
	}
	if copyErr != nil {
		return ci.Exit{}, fmt.Errorf("keep the output: %w", copyErr)
	}
	return exit, nil
}

// ask runs a small script of Sluice's own in the session and returns what it
// printed. It leaves no step and no log behind.
func (j *job) ask(ctx context.Context, id ci.StepID, script string) (string, error) {
	keep := context.WithoutCancel(ctx)
	p, err := j.sandbox.Start(keep, ci.Command{
		ID: id, Script: script, Shell: j.a.Job.Shell, Env: j.startEnv(), Session: j.session(), Capture: true,
	})
	if err != nil {
		return "", fmt.Errorf("start command: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		if !left(ctx) {
			_ = p.Stop(keep, 0)
		}
	})()
	out, err := p.Output(ctx, 0)
	if err != nil {
		return "", fmt.Errorf("read output: %w", err)
	}
	defer out.Close()
	text, err := io.ReadAll(io.LimitReader(out, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read output: %w", err)
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		return "", err
	}
	if exit.Code != 0 {
		return "", failf(ci.CodeClient, "exit status %d", exit.Code)
	}
	return string(text), nil
}
