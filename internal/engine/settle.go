package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// conclude stores how a job ended, and what follows from it, as one transition.
// Under b.mu.
func (e *Engine) conclude(ctx context.Context, b *build, ended ci.Event) error {
	before := len(b.events)
	e.stage(b, ended)
	if err := e.commit(ctx, b, e.conclusions(b)...); err != nil {
		b.unstage(min(before, len(b.events)))
		return err
	}
	b.dismiss()
	return nil
}

// settle stores the conclusions from how the jobs of a running build stand.
// Under b.mu.
func (e *Engine) settle(ctx context.Context, b *build) error {
	events := e.conclusions(b)
	if len(events) == 0 {
		return nil
	}
	if err := e.commit(ctx, b, events...); err != nil {
		return err
	}
	b.dismiss()
	return nil
}

// dismiss takes back the offer of jobs that cannot run any more. Under b.mu.
func (b *build) dismiss() {
	for _, en := range b.offered {
		if b.rec.Job(en.job).Status.Done() {
			en.gone.Store(true)
			delete(b.offered, en.job)
		}
	}
}

// conclusions are drawn from how the jobs of a running build stand: jobs that
// can no longer run are skipped or canceled, and when none is left the build is
// done. Under b.mu.
func (e *Engine) conclusions(b *build) []ci.Event {
	now := e.cfg.Now()
	jobs := clone(b.rec).Jobs
	var events []ci.Event
	end := func(j *ci.JobRun, s ci.Status, reason string) {
		why := whyNever(b.rec.Cancel, jobs, j)
		j.Status, j.Reason, j.Ended = s, reason, now
		run := *j
		run.Steps = nil
		events = append(events, ci.NewEvent(ci.EventJobFinished, run).Because(why))
	}
	stop := b.rec.Cancel
	if stop == "" && b.rec.Plan.FailFast && anyFailed(jobs) {
		stop = ci.ErrFailFast.Error()
	}
	// Skipping one job can be what another waits for, so go on until nothing changes.
	for changed := true; changed; {
		changed = false
		for i := range jobs {
			j := &jobs[i]
			if j.Status != ci.Queued {
				continue
			}
			if stop != "" {
				end(j, stopped(stop), stop)
				changed = true
			} else if need := blockedBy(jobs, j); need != "" {
				end(j, ci.Skipped, fmt.Sprintf("it needs %q, which did not succeed", need))
				changed = true
			}
		}
	}
	if rec, done := finished(b.rec, jobs, now); done {
		events = append(events, ci.NewEvent(ci.EventBuildFinished, rec))
	}
	return events
}

func anyFailed(jobs []ci.JobRun) bool {
	for _, j := range jobs {
		if j.Status.Done() && !j.Status.OK() && j.Status != ci.Skipped && !j.AllowFailure {
			return true
		}
	}
	return false
}

// blockedBy names a need of j that ended in a way that j cannot run after. A
// need that may fail blocks nobody: "waits until the named tasks complete"
// (codebuild.md 2.1, 2.2).
func blockedBy(jobs []ci.JobRun, j *ci.JobRun) string {
	for _, n := range j.Needs {
		need := latest(jobs, n)
		if need != nil && need.Status.Done() && !need.Status.OK() && !(need.AllowFailure && need.Status == ci.Failed) {
			return n
		}
	}
	return ""
}

// ready says whether all needs of a queued job ended well enough.
func ready(jobs []ci.JobRun, j *ci.JobRun) bool {
	for _, n := range j.Needs {
		need := latest(jobs, n)
		if need == nil || !need.Status.Done() {
			return false
		}
	}
	return j.Status == ci.Queued && blockedBy(jobs, j) == ""
}

// latest is the newest attempt of the job of that name.
func latest(jobs []ci.JobRun, name string) *ci.JobRun {
	for i := len(jobs) - 1; i >= 0; i-- {
		if jobs[i].Name == name {
			return &jobs[i]
		}
	}
	return nil
}

// finished makes the final record when every job is done.
func finished(rec ci.Build, jobs []ci.JobRun, now time.Time) (ci.Build, bool) {
	worst := ci.Succeeded
	var metered time.Duration
	for i := range jobs {
		j := &jobs[i]
		if !j.Status.Done() {
			return rec, false
		}
		if !j.Started.IsZero() {
			metered += j.Ended.Sub(j.Started)
		}
		if j != latest(jobs, j.Name) || (j.AllowFailure && j.Status == ci.Failed) || j.Status == ci.Skipped {
			continue
		}
		if w := ci.Worst(worst, counts(&rec, j)); w != worst {
			worst, rec.Reason = w, j.Reason
			if len(jobs) > 1 {
				rec.Reason = fmt.Sprintf("job %s: %s", j.Name, j.Reason)
			}
		}
	}
	rec.Status, rec.Ended = worst, now
	rec.Metered = int64((metered + time.Second - 1) / time.Second)
	rec.Jobs, rec.Plan = nil, nil // Apply keeps what is there
	return rec, true
}

// counts is what a job's status counts for in its build's. One that fast-fail
// stopped did nothing wrong: the build failed by the job that did, and was not
// canceled by anybody.
func counts(rec *ci.Build, j *ci.JobRun) ci.Status {
	if j.Status == ci.Canceled && rec.Cancel == "" {
		return ci.Succeeded
	}
	return j.Status
}
