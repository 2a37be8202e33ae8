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
		en, err := e.queue.take(ctx)
		if err != nil {
			return nil, err
		}
		a, err := e.claim(ctx, en)
		if a != nil {
			return a, nil
		}
		e.queue.release(en.job)
		if err != nil {
			en.b.mu.Lock()
			lost := en.b.lost
			if !lost {
				delete(en.b.offered, en.job) // for the next who asks
				e.offer(en.b)
			}
			en.b.mu.Unlock()
			if lost {
				continue
			}
			return nil, err
		}
	}
}

// claim records that a job begins. Nil when it may not any more.
func (e *Engine) claim(ctx context.Context, en *entry) (*ci.Assignment, error) {
	b := en.b
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.rec.Job(en.job)
	if j == nil || b.claimed[en.job] || b.rec.Status != ci.Running {
		return nil, nil
	}
	if ready(b.rec.Jobs, j) {
		run := *j
		run.Steps, run.Status, run.Started = nil, ci.Running, e.cfg.Now()
		if err := e.commit(ctx, b, ci.NewEvent(ci.EventJobStarted, run).Because(e.whyStarted(b, j, en))); err != nil {
			return nil, fmt.Errorf("claim job %s: %w", en.job, err)
		}
	} else if j.Status != ci.Running {
		return nil, nil
	}
	b.claimed[en.job] = true
	return e.assignment(b, b.rec.Job(en.job)), nil
}

// offer puts up the jobs that are ready and not put up yet, as many as the build
// may run at once. Under b.mu.
func (e *Engine) offer(b *build) {
	if b.rec.Status != ci.Running || b.lost {
		return
	}
	for i := range b.rec.Jobs {
		j := &b.rec.Jobs[i]
		again := j.Status == ci.Running
		if b.offered[j.ID] != nil || !(again || ready(b.rec.Jobs, j)) {
			continue
		}
		if b.rec.Limits.Jobs > 0 && len(b.offered) >= b.rec.Limits.Jobs {
			return
		}
		runtime := merge(planned(&b.rec, j.Name).Runtime, b.rec.Runtime)
		en := &entry{
			b: b, job: j.ID, limit: b.rec.Limits.Builds, since: e.cfg.Now(),
			need: e.cfg.Demand(runtime), title: title(&b.rec), number: b.rec.Number, executor: runtime.Executor,
		}
		b.offered[j.ID] = en
		e.queue.offer(b.rec.Project, en, again)
	}
}

// title is a build as people name it.
func title(rec *ci.Build) string {
	if rec.Number == 0 {
		return string(rec.ID)
	}
	return fmt.Sprintf("%s #%d", rec.Project, rec.Number)
}

// planned is a job of the build's plan.
func planned(rec *ci.Build, name string) ci.Job {
	for _, j := range rec.Plan.Jobs {
		if j.Name == name {
			return j
		}
	}
	return ci.Job{}
}

func (e *Engine) assignment(b *build, run *ci.JobRun) *ci.Assignment {
	a := &ci.Assignment{Build: b.rec, Run: *run, Began: b.began[run.ID], Timeout: b.rec.Limits.Timeout}
	a.Build.Jobs, a.Build.Plan = nil, nil
	a.Run.Steps = append([]ci.StepRun(nil), run.Steps...)
	if a.Timeout == 0 {
		a.Timeout = DefaultTimeout
	}
	a.Job = planned(&b.rec, run.Name)
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
		changed, cause, lost := b.changed, stopCause(&b.rec, id), b.lost
		b.mu.Unlock()
		if lost {
			return nil, fmt.Errorf("job %s is in the hands of another server: %w", id, ci.ErrNotFound)
		}
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
	if err := e.soon(ctx, b, ci.NewEvent(t, s), s); err != nil {
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
	if j := b.rec.Job(run.ID); j == nil || !j.Status.Done() {
		run.Steps = nil // Apply keeps those that were told
		if run.Ended.IsZero() {
			run.Ended = e.cfg.Now()
		}
		if j != nil {
			run.Charge = e.charge(b, j, run)
		}
		if err := e.conclude(ctx, b, ci.NewEvent(ci.EventJobFinished, run)); err != nil {
			return fmt.Errorf("record job %s: %w", run.ID, err)
		}
	}
	delete(b.claimed, run.ID)
	delete(b.offered, run.ID)
	e.queue.release(run.ID)
	return nil
}

// Cancel asks a build to stop. Jobs that have not begun are canceled at once;
// those that run are told through Renew. Canceling a build that is done changes
// nothing.
func (e *Engine) Cancel(ctx context.Context, id ci.BuildID, cause error) error {
	b, err := e.build(id)
	if err != nil {
		rec, _, err := e.cfg.Store.Load(ctx, id)
		if err == nil && !rec.Status.Done() && e.cfg.Shared != nil {
			return e.wish(ctx, id, cause)
		}
		if err == nil && !rec.Status.Done() {
			err = fmt.Errorf("build %s is not in this server's hands: ask again in a moment: %w", id, ci.ErrUnavailable)
		}
		return err
	}
	return e.stop(ctx, b, cause)
}

// stop is Cancel of a build that is in hand.
func (e *Engine) stop(ctx context.Context, b *build, cause error) error {
	b.mu.Lock()
	err := e.cancel(ctx, b, cause)
	lost := b.lost
	b.mu.Unlock()
	if lost {
		return e.Cancel(ctx, b.id, cause) // whoever has it now
	}
	if err != nil {
		return err
	}
	return e.advance(ctx, b)
}

// cancel records the wish. Under b.mu.
func (e *Engine) cancel(ctx context.Context, b *build, cause error) error {
	if b.rec.Status.Done() || b.rec.Cancel != "" {
		return nil
	}
	rec := b.rec
	rec.Cancel, rec.Jobs, rec.Plan = cause.Error(), nil, nil
	if rec.Status == ci.Queued {
		rec.Status, rec.Reason, rec.Ended = stopped(rec.Cancel), cause.Error(), e.cfg.Now()
	}
	if err := e.commit(ctx, b, ci.NewEvent(ci.EventCancel, rec).Because(e.whyCanceled(ctx, &b.rec, cause))); err != nil {
		return fmt.Errorf("cancel build %s: %w", rec.ID, err)
	}
	if b.give != nil {
		b.give()
	}
	return nil
}

// stopped is the status of what a wish to stop ends before it began.
func stopped(cause string) ci.Status {
	if cause == ci.ErrQueueTime.Error() {
		return ci.TimedOut
	}
	return ci.Canceled
}
