package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// job is one job being done. It is used by one goroutine.
type job struct {
	r       *Runner
	a       *ci.Assignment
	sandbox ci.Sandbox
	env     []string // of the session's first command
	set     []ci.Variable
	mask    []string
	result  ci.JobRun

	succeeding bool   // no command has failed yet: CODEBUILD_BUILD_SUCCEEDING
	lastExit   int    // CODEBUILD_LAST_EXIT
	entered    bool   // the session has begun
	built      bool   // a phase with commands was entered: there may be reports
	keyed      string // the evaluated cache key
	cacheHit   string
	used       ci.Usage // of the commands that ended
}

func newJob(r *Runner, a *ci.Assignment) *job {
	j := &job{r: r, a: a, result: a.Run, succeeding: true}
	j.result.Status = ci.Succeeded
	return j
}

// fail lowers the job's status and keeps the first reason for it.
func (j *job) fail(s ci.Status, reason string) {
	if worst := ci.Worst(j.result.Status, s); worst != j.result.Status {
		j.result.Status = worst
		if j.result.Reason == "" || s != ci.Failed {
			j.result.Reason = reason
		}
	}
}

// stopped notes that the job ends before it did everything. No phase may say so:
// ctx can end between two of them, or before any that an earlier process left.
func (j *job) stopped(ctx context.Context) {
	var s ci.StepRun
	j.mark(ctx, &s, nil)
	j.fail(s.Status, reason(&s))
}

// run takes the job through its phases; the outcome is in j.result. ctx ends when
// the job is to stop, process only when the whole process is: a job that was
// stopped is still finalized. An error means that the desk does not take what is
// told, so nothing can be said.
func (j *job) run(process, ctx context.Context) error {
	upload := true
	ok, err := j.phase(ctx, ci.PhaseProvisioning, j.provision)
	if err != nil {
		return err
	}
	if ok {
		if ok, err = j.phase(ctx, ci.PhaseDownloadSource, j.download); err != nil {
			return err
		}
	}
	if ok {
		if ok, err = j.regain(ctx); err != nil {
			return err
		}
	}
	if ok {
		if upload, err = j.commands(ctx); err != nil {
			return err
		}
	}
	if ok && upload && ctx.Err() != nil {
		j.stopped(ctx)
	} else if ok && upload {
		if _, err := j.phase(ctx, ci.PhaseUploadArtifacts, j.upload); err != nil {
			return err
		}
	}
	return j.finalize(process, ok, upload)
}

// regain gets back what an earlier process had in memory and no record holds:
// the sandbox and the secrets. When the job was finalized already, nothing more
// is needed from them, and a sandbox that is gone is no loss.
func (j *job) regain(ctx context.Context) (bool, error) {
	var err error
	if j.sandbox == nil {
		err = j.open(ctx, io.Discard)
	}
	if s := j.a.Run.Step(j.a.Run.ID.Step(string(ci.PhaseFinalizing))); s != nil && s.Status.Done() {
		return true, nil
	}
	if err == nil && j.env == nil {
		err = j.variables(ctx)
	}
	var told *deskError
	if errors.As(err, &told) {
		return false, err
	}
	if err != nil {
		var s ci.StepRun
		j.mark(ctx, &s, err)
		j.fail(s.Status, reason(&s))
	}
	return err == nil, nil
}

// commands goes through the four phases that hold commands, as the transitions
// of codebuild.md 1.5.4 say. The answer is whether artifacts are uploaded.
func (j *job) commands(ctx context.Context) (upload bool, err error) {
	plans := map[ci.Phase]ci.PhasePlan{}
	for _, p := range j.a.Job.Phases {
		plans[p.Phase] = p
	}
	for _, phase := range []ci.Phase{ci.PhaseInstall, ci.PhasePreBuild, ci.PhaseBuild, ci.PhasePostBuild} {
		plan := plans[phase]
		plan.Phase = phase
		ok, err := j.phase(ctx, phase, func(ctx context.Context, p *ci.StepRun) error {
			return j.runPhase(ctx, p, plan)
		})
		if err != nil {
			return false, err
		}
		if ctx.Err() != nil {
			j.stopped(ctx)
			return false, nil
		}
		if j.result.Status == ci.Errored {
			return false, nil
		}
		if ok || plan.OnFailure.Action == ci.FailContinue {
			continue
		}
		if plan.OnFailure.Action == ci.FailAbort || phase == ci.PhaseInstall || phase == ci.PhasePreBuild {
			return false, nil
		}
	}
	return true, nil
}

// phase runs one phase as a step of its own: started, work, finished. Work
// marks a failure in the StepRun; an error of work that is not a desk's is a
// fault, or the cause for which ctx ended.
func (j *job) phase(ctx context.Context, name ci.Phase, work func(context.Context, *ci.StepRun) error) (bool, error) {
	s := ci.StepRun{ID: j.a.Run.ID.Step(string(name)), Kind: ci.KindPhase, Phase: name, Started: j.r.cfg.Now()}
	if done, err := j.begin(ctx, &s); err != nil || done {
		j.recallPhase(&s)
		return s.Status == ci.Succeeded, err
	}
	err := work(ctx, &s)
	var told *deskError
	switch {
	case errors.As(err, &told):
		return false, err
	case s.Status == ci.Running && err == nil:
		s.Status = ci.Succeeded
		s.Contexts = []ci.PhaseContext{{}}
	case err != nil:
		j.mark(ctx, &s, err)
	}
	if !s.Status.OK() {
		j.fail(s.Status, reason(&s))
	}
	return s.Status == ci.Succeeded, j.finish(ctx, &s)
}

// recallPhase takes the outcome of a phase that an earlier process finished,
// with all that its steps brought about.
func (j *job) recallPhase(s *ci.StepRun) {
	if !s.Status.Done() {
		return
	}
	if !s.Status.OK() {
		j.fail(s.Status, reason(s))
	}
	was := j.succeeding
	for i := range j.a.Run.Steps {
		if step := &j.a.Run.Steps[i]; step.Phase == s.Phase && step.Kind != ci.KindPhase {
			j.recall(step)
		}
	}
	j.succeeding = was && s.Status.OK() // a failure that was retried with success does not count
}

// recall takes into the job's result what a finished step brought about.
func (j *job) recall(s *ci.StepRun) {
	j.result.Artifacts = append(j.result.Artifacts, s.Artifacts...)
	j.result.Reports = append(j.result.Reports, s.Reports...)
	j.result.Cache = append(j.result.Cache, s.Cache...)
	j.result.Exports = append(j.result.Exports, s.Exports...)
	if s.Environment != nil {
		j.result.Environment = *s.Environment
	}
	if len(s.Versions) > 0 {
		j.result.Environment.Versions = s.Versions
	}
	if s.Usage != nil {
		j.result.Usage = *s.Usage
	}
	if s.Kind == ci.KindCommand {
		j.entered = true
		if s.Exit != nil {
			j.lastExit = s.Exit.Code
			j.used = j.used.With(s.Exit.Usage)
		}
		j.succeeding = j.succeeding && s.Status == ci.Succeeded
	}
	for _, c := range s.Cache {
		if c.Action == "restore" {
			j.keyed, j.cacheHit = c.Key, c.Hit
		}
	}
}

func reason(s *ci.StepRun) string {
	if len(s.Contexts) > 0 {
		return s.Contexts[0].Message
	}
	return fmt.Sprintf("phase %s %s", s.Phase, s.Status)
}

// mark writes into s what an error means for it: the reason for which ctx
// ended, a failure with its status code, or a fault.
func (j *job) mark(ctx context.Context, s *ci.StepRun, err error) {
	var f *failure
	status, code, message := ci.Errored, ci.CodeFault, ""
	if err != nil {
		message = ci.Message(err)
	}
	switch cause := context.Cause(ctx); {
	case ctx.Err() != nil && errors.Is(cause, ci.ErrTimedOut):
		status, code = ci.TimedOut, ci.CodeTimedOut
		message = fmt.Sprintf("the job ran longer than its timeout of %s; raise it with --timeout", j.a.Timeout)
	case ctx.Err() != nil:
		status, code, message = ci.Canceled, "", cause.Error()
	case errors.As(err, &f):
		status, code = ci.Failed, f.code
	}
	s.Status = status
	s.Contexts = []ci.PhaseContext{{Code: code, Message: message}}
}

// failure is an error that is the build's own fault, or its source's or its
// definition's: the build has failed, it is not broken.
type failure struct {
	code string // of a PhaseContext
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failf(code, format string, args ...any) error {
	return &failure{code: code, err: fmt.Errorf(format, args...)}
}

// findWithin is how long finding a sandbox may take only to end it.
const findWithin = time.Minute

// close ends the sandbox unless somebody wants to keep it. It is called when the
// end of the job is recorded: until then a new process would need the sandbox.
func (j *job) close(ctx context.Context) {
	if j.sandbox == nil && j.a.Began {
		// The job was to stop before its sandbox was found again. What runs in there must end all the same.
		find, cancel := context.WithTimeout(context.WithoutCancel(ctx), findWithin)
		defer cancel()
		if err := j.open(find, io.Discard); err != nil && j.sandbox == nil {
			j.r.cfg.Log.Warn("the sandbox of a job that was stopped is left to the next start", "job", j.a.Run.ID, "err", err)
		}
	}
	if j.sandbox == nil || (j.r.cfg.Keep != nil && j.r.cfg.Keep(j.result, j.sandbox)) {
		return
	}
	if err := j.sandbox.Close(context.WithoutCancel(ctx)); err != nil {
		j.r.cfg.Log.Warn("close sandbox", "job", j.a.Run.ID, "err", err)
	}
}

// left says that the process is being stopped, and not the job: what runs in the
// sandbox is left to the next process.
func left(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled)
}
