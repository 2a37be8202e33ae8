package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/sluice-ci/sluice/internal/ci"
)

// runPhase runs the commands of a phase, again as often as on-failure allows,
// and then its finally commands. What failed is marked in p.
func (j *job) runPhase(ctx context.Context, p *ci.StepRun, plan ci.PhasePlan) error {
	j.built = true
	if plan.Phase == ci.PhaseInstall {
		if err := j.selectRuntimes(ctx); err != nil {
			return err
		}
	}
	failed, err := j.attempts(ctx, p, plan)
	if err != nil {
		return err
	}
	if ctx.Err() == nil {
		// "finally" runs once, after the last attempt, also when the commands failed.
		last, err := j.steps(ctx, plan, plan.Finally, 1, true)
		if err != nil {
			return err
		}
		if failed == nil {
			failed = last
		}
	}
	if ctx.Err() != nil {
		j.mark(ctx, p, nil)
		return nil
	}
	if failed != nil {
		p.Status = ci.Failed
		p.Contexts = failed.Contexts
	}
	return nil
}

// attempts runs the commands until they succeed or may not be retried, and
// returns the step that failed in the last attempt.
func (j *job) attempts(ctx context.Context, p *ci.StepRun, plan ci.PhasePlan) (*ci.StepRun, error) {
	rule := plan.OnFailure
	was := j.succeeding
	for attempt := 1; ; attempt++ {
		if attempt > 1 {
			j.succeeding = was // the failure that is being retried does not count
			p.Attempt = attempt
		}
		failed, err := j.steps(ctx, plan, plan.Steps, attempt, false)
		if failed == nil || err != nil || ctx.Err() != nil {
			return failed, err
		}
		if rule.Action != ci.FailRetry || attempt > rule.Retries {
			return failed, nil
		}
		if again, err := j.matches(ctx, failed, rule.Pattern); err != nil || !again {
			return failed, err
		}
	}
}

// matches says whether a failed step calls for a retry: the pattern is looked
// for in the phase's message and in the end of the command's output, because
// the documentation says only "error message" (codebuild.md 1.5.1).
func (j *job) matches(ctx context.Context, s *ci.StepRun, pattern string) (bool, error) {
	if pattern == "" {
		return true, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return false, failf(ci.CodeYAML, "on-failure pattern %q: %w", pattern, err)
	}
	if re.MatchString(reason(s)) {
		return true, nil
	}
	tail, err := j.tail(ctx, s.ID)
	return err == nil && re.Match(tail), nil
}

// tail is the last 64 KiB of a sealed step's log.
func (j *job) tail(ctx context.Context, id ci.StepID) ([]byte, error) {
	r, err := j.r.cfg.Logs.Tail(ctx, id, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	const window = 64 << 10
	var keep []byte
	buf := make([]byte, window)
	for {
		n, err := r.Read(buf)
		keep = append(keep, buf[:n]...)
		if over := len(keep) - window; over > 0 {
			keep = append(keep[:0], keep[over:]...)
		}
		if err == io.EOF {
			return keep, nil
		}
		if err != nil {
			return keep, err
		}
	}
}

// steps runs commands in order until one fails, and returns that one.
func (j *job) steps(ctx context.Context, plan ci.PhasePlan, steps []ci.Step, attempt int, finally bool) (*ci.StepRun, error) {
	path := string(plan.Phase)
	if attempt > 1 {
		path += "~" + strconv.Itoa(attempt)
	}
	prefix := ""
	if finally {
		prefix = "finally-"
	}
	for i, step := range steps {
		if ctx.Err() != nil {
			return nil, nil
		}
		s := ci.StepRun{
			ID:   j.a.Run.ID.Step(fmt.Sprintf("%s/%s%d", path, prefix, i)),
			Kind: ci.KindCommand, Phase: plan.Phase, Title: step.Run, Pos: step.Pos,
			Attempt: attempt, Finally: finally, Started: j.r.cfg.Now(),
		}
		if err := j.command(ctx, &s, plan.User, step); err != nil {
			return nil, err
		}
		if !s.Status.OK() {
			return &s, nil
		}
	}
	return nil, nil
}

// command runs one command of the definition as the step s. A failed command
// is in s; an error is a fault or the desk's.
func (j *job) command(ctx context.Context, s *ci.StepRun, user string, step ci.Step) error {
	done, err := j.begin(ctx, s)
	if err != nil {
		return err
	}
	if !done {
		c := ci.Command{ID: s.ID, Script: step.Run, Shell: j.a.Job.Shell, User: user, Session: j.session(), Env: j.startEnv()}
		if err := j.script(ctx, s, c); err != nil {
			return j.lost(ctx, s, err)
		}
		j.judge(ctx, s, step)
		if err := j.finish(ctx, s); err != nil {
			return err
		}
	}
	j.recall(s)
	if s.Status != ci.Succeeded {
		if s.Status == ci.Failed && !done && j.r.cfg.OnFailure != nil {
			j.r.cfg.OnFailure(ctx, Failure{Job: j.a.Run.ID, Step: *s, Sandbox: j.sandbox, Shell: j.a.Job.Shell, User: user, Session: j.session()})
		}
	}
	return nil
}

// lost records a command whose end cannot be known.
func (j *job) lost(ctx context.Context, s *ci.StepRun, err error) error {
	var told *deskError
	if errors.As(err, &told) {
		return err
	}
	j.mark(ctx, s, err)
	if ferr := j.finish(ctx, s); ferr != nil {
		return ferr
	}
	return err
}

// judge turns an exit into a status, with the message that CodeBuild has for it
// (codebuild.md 1.9).
func (j *job) judge(ctx context.Context, s *ci.StepRun, step ci.Step) {
	switch {
	case s.Exit.Code == 0:
		s.Status = ci.Succeeded
	case ctx.Err() != nil:
		j.mark(ctx, s, nil)
	default:
		why := fmt.Sprintf("exit status %d", s.Exit.Code)
		if s.Exit.OOM {
			why += j.outOfMemory()
		} else if s.Exit.Signal != "" {
			why += " (" + s.Exit.Signal + ")"
		}
		s.Status = ci.Failed
		s.Contexts = []ci.PhaseContext{{
			Code:    ci.CodeCommandFailed,
			Message: fmt.Sprintf("Error while executing command: %s. Reason: %s", step.Run, why),
		}}
	}
}

func (j *job) outOfMemory() string {
	placed := j.sandbox.Placed()
	text := ": out of memory"
	if placed.Memory > 0 {
		text += fmt.Sprintf("; the limit is %s", bytesText(placed.Memory))
	}
	return text + "; take a larger compute size, or raise --memory"
}

// bytesText writes a size as people do.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n)/unit, "KiB"
	for _, s := range []string{"MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, s
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}
