package runner

import (
	"context"

	"github.com/sluice-ci/sluice/internal/ci"
)

// finalize reads what is to be known of the job before its sandbox goes: the
// exported variables, reports where the upload did not collect them, the cache,
// what it used. Trouble here is in the log of its step and does not fail a build
// that succeeded, but for what the desk does not take.
func (j *job) finalize(ctx context.Context, ok, upload bool) error {
	if left(ctx) {
		return &deskError{errLeft}
	}
	if _, err := j.phase(ctx, ci.PhaseFinalizing, func(ctx context.Context, _ *ci.StepRun) error {
		if !ok || j.sandbox == nil || j.result.Status == ci.Errored {
			return nil
		}
		if err := j.readExports(ctx); fatal(ctx, err) {
			return err
		}
		if !upload && j.built {
			if err := j.collectReports(ctx, ci.PhaseFinalizing); fatal(ctx, err) {
				return err
			}
		}
		if err := j.saveCache(ctx); fatal(ctx, err) {
			return err
		}
		return nil
	}); err != nil {
		return err
	}
	s := ci.StepRun{ID: j.a.Run.ID.Step(string(ci.PhaseCompleted)), Kind: ci.KindPhase, Phase: ci.PhaseCompleted, Started: j.r.cfg.Now()}
	done, err := j.begin(ctx, &s)
	if err != nil {
		return err
	}
	if done {
		j.recall(&s)
		return nil
	}
	if j.sandbox != nil {
		usage, err := j.sandbox.Usage(ctx)
		if err != nil { // not measured is not said
			usage = ci.Usage{}
		}
		if usage = usage.Over(j.used); usage != (ci.Usage{}) {
			s.Usage = &usage
		}
	}
	j.recall(&s)
	s.Status, s.Ended = ci.Succeeded, s.Started
	return j.finish(ctx, &s)
}

// upload collects reports and artifacts. Both are tried also when the build
// failed (codebuild.md 1.5.4).
func (j *job) upload(ctx context.Context, _ *ci.StepRun) error {
	if err := j.collectReports(ctx, ci.PhaseUploadArtifacts); err != nil {
		return err
	}
	return j.collectArtifacts(ctx)
}
