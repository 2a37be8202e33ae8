package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// takeOver finds the jobs of an earlier build that need not run again, by name:
// those that ended well, are not to be done again, and need none that is. What
// they left is made this build's own.
func (e *Engine) takeOver(ctx context.Context, rec *ci.Build, plan *ci.Plan, now time.Time) (map[string]ci.JobRun, error) {
	if len(rec.Redo) == 0 {
		return nil, nil
	}
	old, err := e.Build(ctx, rec.RetryOf)
	if errors.Is(err, ci.ErrNotFound) {
		return nil, fmt.Errorf("the build whose jobs it takes over was deleted: retry all of it: %w", ci.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	again := redone(plan, rec.Redo)
	taken := map[string]ci.JobRun{}
	for _, j := range plan.Jobs {
		run := latest(old.Jobs, j.Name)
		if again[j.Name] || run == nil || !run.Status.OK() {
			continue
		}
		mine := ci.JobRun{
			ID: rec.ID.Job(j.Name, 1), Name: j.Name, Needs: j.Needs, AllowFailure: j.AllowFailure, Status: run.Status, Queued: now, Ended: now,
			Reason: "taken over from " + title(&old), From: run.ID, Environment: run.Environment, Exports: run.Exports, Reports: run.Reports,
			Artifacts: slices.Clone(run.Artifacts),
		}
		if e.cfg.Adopt != nil {
			if err := e.cfg.Adopt(ctx, run.ID, mine.ID, mine.Artifacts); err != nil {
				return nil, fmt.Errorf("take over job %s of %s: %w", j.Name, title(&old), err)
			}
		}
		taken[j.Name] = mine
	}
	return taken, nil
}

// redone are the jobs to do again, with all that need them.
func redone(plan *ci.Plan, names []string) map[string]bool {
	again := map[string]bool{}
	for _, n := range names {
		again[n] = true
	}
	for changed := true; changed; {
		changed = false
		for _, j := range plan.Jobs {
			if !again[j.Name] && slices.ContainsFunc(j.Needs, func(n string) bool { return again[n] }) {
				again[j.Name], changed = true, true
			}
		}
	}
	return again
}
