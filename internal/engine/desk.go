package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// DefaultTimeout of a job, CodeBuild's (codebuild.md 4.1).
const DefaultTimeout = 60 * time.Minute

// Claim waits until a job is ready and hands it out. A job whose runner was
// killed is handed out again, with what it had done.
func (e *Engine) Claim(ctx context.Context, _ ci.RunnerInfo) (*ci.Assignment, error) {
	for {
		e.mu.Lock()
		wake := e.wake
		var open []*build
		for _, id := range e.order {
			open = append(open, e.builds[id])
		}
		e.mu.Unlock()
		for _, b := range open {
			a, err := e.claimFrom(ctx, b)
			if a != nil || err != nil {
				return a, err
			}
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// claimFrom takes a job of the build that nobody has, if there is one.
func (e *Engine) claimFrom(ctx context.Context, b *build) (*ci.Assignment, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rec.Status != ci.Running || (b.rec.Limits.Jobs > 0 && len(b.claimed) >= b.rec.Limits.Jobs) {
		return nil, nil
	}
	for i := range b.rec.Jobs {
		j := &b.rec.Jobs[i]
		if b.claimed[j.ID] {
			continue
		}
		if ready(b.rec.Jobs, j) {
			run := *j
			run.Steps, run.Status, run.Started = nil, ci.Running, e.cfg.Now()
			if err := e.commit(ctx, b, ci.NewEvent(ci.EventJobStarted, run)); err != nil {
				return nil, fmt.Errorf("claim job %s: %w", j.ID, err)
			}
		} else if j.Status != ci.Running {
			continue
		}
		b.claimed[j.ID] = true
		return e.assignment(b, &b.rec.Jobs[i]), nil
	}
	return nil, nil
}

func (e *Engine) assignment(b *build, run *ci.JobRun) *ci.Assignment {
	a := &ci.Assignment{Build: b.rec, Run: *run, Began: b.began[run.ID], Timeout: b.rec.Limits.Timeout}
	a.Build.Jobs, a.Build.Plan = nil, nil
	a.Run.Steps = append([]ci.StepRun(nil), run.Steps...)
	if a.Timeout == 0 {
		a.Timeout = DefaultTimeout
	}
	for _, j := range b.rec.Plan.Jobs {
		if j.Name == run.Name {
			a.Job = j
		}
	}
	a.Runtime = merge(a.Job.Runtime, b.rec.Runtime)
	return a
}

// merge fills what the job leaves open from the build.
func merge(job, build ci.Runtime) ci.Runtime {
	if job.Image == "" && job.Dockerfile == "" {
		job.Image, job.Dockerfile = build.Image, build.Dockerfile
	}
	if job.Executor == "" {
		job.Executor = build.Executor
	}
	if job.Type == "" {
		job.Type = build.Type
	}
	if job.Size == "" {
		job.Size = build.Size
	}
	if job.CPUs == 0 {
		job.CPUs = build.CPUs
	}
	if job.Memory == 0 {
		job.Memory = build.Memory
	}
	if job.Processes == 0 {
		job.Processes = build.Processes
	}
	if job.Isolation == "" {
		job.Isolation = build.Isolation
	}
	if job.Network == "" {
		job.Network = build.Network
	}
	job.Privileged = job.Privileged || build.Privileged
	return job
}

// Renew keeps the claim and waits for a reason to stop the job: it returns that
// reason as soon as there is one, and (nil, nil) after a while without.
func (e *Engine) Renew(ctx context.Context, id ci.JobID) (cause, err error) {
	b, err := e.build(id.Build())
	if err != nil {
		return nil, err
	}
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for {
		b.mu.Lock()
		changed, cause := b.changed, stopCause(&b.rec, id)
		b.mu.Unlock()
		if cause != nil {
			return cause, nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func stopCause(rec *ci.Build, id ci.JobID) error {
	j := rec.Job(id)
	switch {
	case j == nil || j.Status.Done():
		return fmt.Errorf("job %s is over: %w", id, ci.ErrConflict)
	case rec.Cancel == ci.ErrCanceled.Error() || rec.Cancel == "":
	default:
		return errors.New(rec.Cancel)
	}
	if rec.Cancel != "" {
		return ci.ErrCanceled
	}
	if rec.Plan != nil && rec.Plan.FailFast && anyFailed(rec.Jobs) {
		return ci.ErrFailFast
	}
	return nil
}

// StepStarted records a step as running. Told twice, it is told once.
func (e *Engine) StepStarted(ctx context.Context, s ci.StepRun) error {
	s.Status = ci.Running
	return e.step(ctx, ci.EventStepStarted, s)
}

// StepFinished records how a step ended.
func (e *Engine) StepFinished(ctx context.Context, s ci.StepRun) error {
	return e.step(ctx, ci.EventStepFinished, s)
}

func (e *Engine) step(ctx context.Context, t ci.EventType, s ci.StepRun) error {
	b, err := e.build(s.ID.Job().Build())
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if j := b.rec.Job(s.ID.Job()); j != nil {
		if old := j.Step(s.ID); old != nil && (old.Status.Done() || old.Status == s.Status) {
			return nil
		}
	}
	if err := e.commit(ctx, b, ci.NewEvent(t, s)); err != nil {
		return fmt.Errorf("record step %s: %w", s.ID, err)
	}
	return nil
}

// JobFinished records how a job ended, and takes its build on from there.
func (e *Engine) JobFinished(ctx context.Context, run ci.JobRun) error {
	b, err := e.build(run.ID.Build())
	if err != nil {
		return err
	}
	if err := e.finishJob(ctx, b, run); err != nil {
		return err
	}
	return e.advance(ctx, b)
}

func (e *Engine) finishJob(ctx context.Context, b *build, run ci.JobRun) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.claimed, run.ID)
	if j := b.rec.Job(run.ID); j != nil && j.Status.Done() {
		return nil
	}
	run.Steps = nil // Apply keeps those that were told
	if run.Ended.IsZero() {
		run.Ended = e.cfg.Now()
	}
	if err := e.commit(ctx, b, ci.NewEvent(ci.EventJobFinished, run)); err != nil {
		return fmt.Errorf("record job %s: %w", run.ID, err)
	}
	return nil
}

// Cancel asks a build to stop. Jobs that have not begun are canceled at once;
// those that run are told through Renew. Canceling a build that is done changes
// nothing.
func (e *Engine) Cancel(ctx context.Context, id ci.BuildID, cause error) error {
	b, err := e.build(id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if b.rec.Status.Done() || b.rec.Cancel != "" {
		b.mu.Unlock()
		return nil
	}
	rec := b.rec
	rec.Cancel, rec.Jobs, rec.Plan = cause.Error(), nil, nil
	if rec.Status == ci.Queued {
		rec.Status, rec.Reason, rec.Ended = ci.Canceled, cause.Error(), e.cfg.Now()
	}
	err = e.commit(ctx, b, ci.NewEvent(ci.EventCancel, rec))
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cancel build %s: %w", id, err)
	}
	return e.advance(ctx, b)
}
