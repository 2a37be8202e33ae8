package runner

import (
	"context"

	"github.com/sluice-ci/sluice/internal/ci"
)

// finalize reads what is to be known of the job before its sandbox goes: the
// exported variables, reports where the upload did not collect them, the cache,
// what it used. Trouble here does not fail a build that succeeded, but for what
// the desk does not take.
func (j *job) finalize(ctx context.Context, ok, upload bool) error {
	// A job that was stopped or timed out is still finalized.
	keep := context.WithoutCancel(ctx)
	if ctx.Err() != nil && !stopping(context.Cause(ctx)) {
		return &deskError{errLeft}
	}
	if _, err := j.phase(keep, ci.PhaseFinalizing, func(ctx context.Context, _ *ci.StepRun) error {
		if !ok || j.sandbox == nil || j.result.Status == ci.Errored {
			return nil
		}
		if err := j.readExports(ctx); err != nil {
			return err
		}
		if !upload && j.built {
			if err := j.collectReports(ctx, ci.PhaseFinalizing); err != nil {
				return err
			}
		}
		return j.saveCache(ctx)
	}); err != nil {
		return err
	}
	if j.sandbox != nil {
		if usage, err := j.sandbox.Usage(keep); err == nil {
			j.result.Usage = usage
		}
	}
	s := ci.StepRun{ID: j.a.Run.ID.Step(string(ci.PhaseCompleted)), Kind: ci.KindPhase, Phase: ci.PhaseCompleted, Started: j.r.cfg.Now()}
	if done, err := j.begin(keep, &s); err != nil || done {
		return err
	}
	s.Status, s.Ended = ci.Succeeded, s.Started
	return j.finish(keep, &s)
}

// upload collects reports and artifacts. Both are tried also when the build
// failed (codebuild.md 1.5.4).
func (j *job) upload(ctx context.Context, _ *ci.StepRun) error {
	if err := j.collectReports(ctx, ci.PhaseUploadArtifacts); err != nil {
		return err
	}
	return j.collectArtifacts(ctx)
}
