package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Desk is where a runner gets its work and says what became of it. Each call
// may be made twice with the same content after a restart.
type Desk interface {
	Claim(ctx context.Context, who ci.RunnerInfo) (*ci.Assignment, error)
	// Renew keeps the claim; it returns when there is a cause to stop, or after a while.
	Renew(ctx context.Context, id ci.JobID) (cause, err error)
	StepStarted(ctx context.Context, s ci.StepRun) error
	StepFinished(ctx context.Context, s ci.StepRun) error
	JobFinished(ctx context.Context, run ci.JobRun) error
}

// Packaging of artifacts.
const (
	Folder = "folder"
	Zip    = "zip"
)

// Config is what a runner works with. Desk, Place, Fetcher, Logs, Secrets and
// Output are needed; the rest has a use for its zero value.
type Config struct {
	Name    string
	Slots   int // jobs at once; 0 = 1
	Desk    Desk
	Fetcher ci.Fetcher
	Logs    ci.Logs
	// Secrets gives the source that a build's secrets are looked up in: who may use
	// what is that source's to know. It is asked once for each job.
	Secrets func(ci.Build) ci.SecretSource
	Caches  ci.Blobs // nil = no caching
	Blobs   ci.Blobs // gets the artifacts; nil = they stay in Output
	// Place picks the executor of a job and settles what its runtime leaves
	// open: image names, compute sizes.
	Place func(ctx context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error)
	// Output is the directory that gets the job's "artifacts" and "reports".
	Output     func(ci.JobID) string
	Packaging  string                            // Folder (default) or Zip
	AnyRuntime bool                              // a runtime version that is not there is a warning
	Variables  func(ci.Assignment) []ci.Variable // further variables of the service, such as CODEBUILD_BUILD_URL
	Registry   map[string]string                 // credentials, as in ci.Placement.Secrets
	OnFailure  func(context.Context, Failure)    // called when a command failed, before anything else happens in the sandbox
	Keep       func(ci.JobRun, ci.Sandbox) bool  // asked at the end of a job; true leaves the sandbox alone
	// Left is told of a job that is somebody else's by now, whose sandbox was left as it is; nil = nobody is.
	Left func(context.Context, ci.JobID)
	// Identity gives further variables of a job, and which texts of them are secret;
	// asked again for the same job it answers the same. Nil = none.
	Identity func(context.Context, ci.Build) (vars []ci.Variable, secret []string, err error)
	// Fault is told of a job that the desk does not take back, by a runner that goes
	// on with others then. Nil = Run returns that error.
	Fault func(ci.JobID, error)
	Grace time.Duration    // between SIGTERM and SIGKILL; 0 = 5 s
	Now   func() time.Time // nil = time.Now
	Log   *slog.Logger     // nil = nowhere
}

// Failure is what OnFailure is told.
type Failure struct {
	Job     ci.JobID
	Step    ci.StepRun
	Sandbox ci.Sandbox
	Shell   string
	User    string
	Session string
}

// Runner does jobs.
type Runner struct {
	cfg      Config
	draining context.Context //nolint:containedctx // ends at Drain
	drain    context.CancelFunc
}

// New makes a runner.
func New(c Config) *Runner {
	if c.Slots <= 0 {
		c.Slots = 1
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Packaging == "" {
		c.Packaging = Folder
	}
	r := &Runner{cfg: c}
	r.draining, r.drain = context.WithCancel(context.Background())
	return r
}

// Drain has Run claim no more jobs, and return when those that it does have ended.
func (r *Runner) Drain() { r.drain() }

// Run claims jobs and does them, Slots at once, until ctx ends; then it waits
// for what it began. A job in progress when ctx ends is left as it is, to be
// taken up by the next process: stopping a build is the desk's to say.
func (r *Runner) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	claims, stopClaims := context.WithCancel(ctx)
	defer stopClaims()
	defer context.AfterFunc(r.draining, stopClaims)()
	var wg sync.WaitGroup
	errs := make([]error, r.cfg.Slots)
	for i := range r.cfg.Slots {
		wg.Go(func() {
			if errs[i] = r.loop(ctx, claims); errs[i] != nil {
				stop() // the others would wait for work that the desk cannot record
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *Runner) loop(ctx, claims context.Context) error {
	for {
		a, err := r.cfg.Desk.Claim(claims, ci.RunnerInfo{Name: r.cfg.Name})
		if ctx.Err() != nil || err != nil && r.draining.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("claim a job: %w", err)
		}
		if err := r.do(ctx, a); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, errLeft) {
				if r.cfg.Left != nil {
					r.cfg.Left(ctx, a.Run.ID)
				}
				continue
			}
			if r.cfg.Fault == nil {
				return fmt.Errorf("job %s: %w", a.Run.ID, err)
			}
			r.cfg.Fault(a.Run.ID, err)
		}
	}
}

// errLeft ends a job's work without a result: the process is being stopped.
var errLeft = errors.New("left for the next process")

// do carries one job to its end. The error is the desk's: what became of the
// job could not be recorded.
func (r *Runner) do(ctx context.Context, a *ci.Assignment) error {
	jobCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	deadline := a.Run.Started.Add(a.Timeout)
	timed, stop := context.WithDeadlineCause(jobCtx, deadline, ci.ErrTimedOut)
	defer stop()
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(jobCtx, a.Run.ID, cancel) })
	defer watch.Wait()
	defer cancel(nil)

	j := newJob(r, a)
	err := j.run(ctx, timed)
	if ctx.Err() != nil {
		return errLeft
	}
	if err != nil {
		return err
	}
	j.sweepBlobs(context.WithoutCancel(ctx))
	if err := r.cfg.Desk.JobFinished(context.WithoutCancel(ctx), j.result); err != nil {
		return err
	}
	j.close(ctx)
	return nil
}

// watch turns the desk's wish to stop into the end of the job's context.
func (r *Runner) watch(ctx context.Context, id ci.JobID, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		cause, err := r.cfg.Desk.Renew(ctx, id)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Somebody else has the job, or nobody: it is left as it is, because
			// whoever has it may be at work in the same sandbox.
			r.cfg.Log.Warn("a job is left, because the claim on it is lost", "job", id, "err", err)
			cancel(fmt.Errorf("the claim on the job was lost: %w: %w", err, context.Canceled))
			return
		}
		if cause != nil {
			cancel(cause)
			return
		}
	}
}

// logLine writes one line to a step's log.
func logLine(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...) // a log that cannot be written shows at Close
}
