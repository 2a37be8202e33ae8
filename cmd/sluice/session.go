package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/outdir"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/frontend/buildspec"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/runner"
	"github.com/sluice-ci/sluice/internal/source"
	"github.com/sluice-ci/sluice/internal/store"
)

// session is one sluice run: the parts, wired.
type session struct {
	flags *runFlags
	req   *request
	env   environment

	id      ci.BuildID
	out     *outdir.Dir
	journal *store.Journal
	logs    *logs.Store
	fetcher *source.Fetcher
	engine  *engine.Engine
	runner  *runner.Runner
	placer  *placer
	secrets *heard
	claim   *claim
	screen  *screen

	work sync.WaitGroup
	mu   sync.Mutex
	kept []held
}

// frontEnds are the formats that are read, the most wanted first.
func frontEnds() []ci.FrontEnd { return []ci.FrontEnd{buildspec.New()} }

// definitionNames are the files that are looked for, in that order.
func definitionNames() []string {
	var names []string
	for _, f := range frontEnds() {
		names = append(names, f.Files()...)
	}
	return names
}

func newSession(f *runFlags, req *request, env environment) (s *session, err error) {
	s = &session{flags: f, req: req, env: env, id: ci.NewBuildID(time.Now())}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.out, err = outdir.Open(req.output); err != nil {
		if errors.Is(err, ci.ErrConflict) {
			return s, &exitError{code: exitUsage, err: err}
		}
		return s, err
	}
	if s.journal, err = store.OpenJournal(filepath.Join(s.out.State(), "journal"), false); err != nil {
		return s, err
	}
	if s.logs, err = logs.Open(filepath.Join(s.out.State(), "logs"), logs.Options{}); err != nil {
		return s, err
	}
	if err = os.MkdirAll(env.home, 0o700); err != nil {
		return s, fmt.Errorf("state folder: %w; choose another with SLUICE_HOME", err)
	}
	if s.claim, err = newRegistry(env.home).claim(s.id); err != nil {
		return s, err
	}
	s.fetcher = source.New(source.Options{Cache: filepath.Join(env.home, "git"), Exclude: []string{req.output}, Credentials: req.credentials})
	s.engine = engine.New(engine.Config{Store: s.journal, Fronts: frontEnds(), Fetcher: s.fetcher, Retain: true})
	s.secrets = &heard{SecretSource: secretChain(req.secrets, env)}
	s.placer = newPlacer(env.home, s.warn)
	s.placer.note = s.noteSandbox
	s.screen = newScreen(f, env, s.secrets.hide)
	return s, s.newRunner()
}

func (s *session) newRunner() error {
	var caches ci.Blobs
	if s.req.cache != "" {
		dir, err := blob.OpenCache(s.req.cache)
		if err != nil {
			return fmt.Errorf("%w; choose another folder with --cache, or none", err)
		}
		caches = dir
	}
	c := runner.Config{
		Name: "sluice run", Slots: s.slots(), Desk: s.engine, Fetcher: s.fetcher, Logs: s.logs,
		Secrets: func(ci.Build) ci.SecretSource { return s.secrets }, Caches: caches, Place: s.placer.place, Packaging: s.flags.packaging,
		AnyRuntime: s.flags.anyRuntime,
		Output:     func(id ci.JobID) string { return s.out.Job(id, s.flags.batch) },
		Variables:  s.variables,
	}
	if s.flags.keep {
		c.Keep = s.keep
	}
	if s.flags.shell || s.flags.keep {
		c.OnFailure = s.onFailure
	}
	s.runner = runner.New(c)
	return nil
}

func (s *session) slots() int {
	if s.flags.jobs > 0 {
		return s.flags.jobs
	}
	return max(2, runtime.NumCPU())
}

// variables are those of this service beside CodeBuild's.
func (s *session) variables(a ci.Assignment) []ci.Variable {
	vars := []ci.Variable{
		{Name: "CODEBUILD_LOCAL_BUILD", Value: "true"},
		{Name: "CODEBUILD_BUILD_URL", Value: "file://" + s.out.Path()},
	}
	if s.debug() || a.Job.Debug {
		// With this the breakpoint tool pauses; without, it does nothing.
		vars = append(vars, ci.Variable{Name: "SLUICE_DEBUG_SESSION", Value: string(a.Run.ID)})
	}
	return vars
}

func (s *session) debug() bool { return s.flags.shell || s.flags.keep }

func (s *session) warn(text string) {
	s.screen.feed.Exclusively(func() {
		s.screen.suspend()
		warn(s.secrets.hide(text))
	})
}

// run builds and reports.
func (s *session) run(ctx context.Context) error {
	if err := resolveFirst(ctx, s.fetcher, s.req.source); err != nil {
		return err
	}
	number, err := s.number()
	if err != nil {
		return err
	}
	ctx, fault := context.WithCancelCause(ctx)
	defer fault(nil)
	workCtx, stop := context.WithCancel(ctx)
	defer stop()

	id, err := s.engine.Start(ctx, engine.Request{
		ID: s.id, Number: number, Project: s.project(), Source: s.req.source, Initiator: s.initiator(),
		File: s.flags.file, Batch: s.flags.batch, Variables: s.req.variables, Runtime: s.req.runtime,
		Limits: ci.Limits{Timeout: s.flags.timeout, Jobs: s.flags.jobs},
	})
	if err != nil {
		return err
	}
	// Until here a signal simply ends this process: there is no build to cancel.
	undo := s.onSignals(ctx)
	defer undo()
	var runErr error // read when work is over
	s.work.Go(func() {
		if runErr = s.runner.Run(workCtx); runErr != nil {
			fault(runErr)
		}
	})
	s.work.Go(func() { s.sweep(workCtx) })
	showErr := s.screen.run(ctx, func(ctx context.Context, f func(ci.Event) bool) error {
		return s.engine.Follow(ctx, id, 1, f)
	}, s.logs)
	stop()
	if showErr == nil { // the build is done: write it down while its sandboxes go
		err = s.finish(context.WithoutCancel(ctx), nil)
		s.work.Wait()
		if runErr != nil { // the result stands; this is about what came after it
			s.warn(runErr.Error())
		}
		return err
	}
	s.work.Wait()
	return s.finish(context.WithoutCancel(ctx), errors.Join(runErr, notCanceled(showErr, runErr)))
}

// notCanceled drops an error that only repeats the one that caused it.
func notCanceled(err, cause error) error {
	if cause != nil && (errors.Is(err, cause) || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

func (s *session) number() (int64, error) {
	n, err := s.out.Number()
	if s.flags.number > 0 {
		return s.flags.number, nil
	}
	return n, err
}

func (s *session) project() string {
	if s.flags.project != "" {
		return s.flags.project
	}
	return projectName(s.req.source.Location)
}

func (s *session) initiator() string {
	if s.flags.initiator != "" {
		return s.flags.initiator
	}
	return userName(s.env.lookup)
}

// finish writes down what became of the build, says it, and gives the exit code.
func (s *session) finish(ctx context.Context, broken error) error {
	if broken != nil {
		s.placer.killAll(ctx) // nobody will take them up
	}
	b, err := s.engine.Build(ctx, s.id)
	if err != nil {
		return errors.Join(broken, err)
	}
	if broken != nil && !b.Status.Done() {
		b.Status, b.Reason, b.Ended = ci.Errored, broken.Error(), time.Now()
	}
	code := codeOfBuild(&b)
	if broken != nil {
		code = exitFault
	}
	var wrong error
	if err := s.out.Gather(&b); err != nil {
		wrong = errors.Join(wrong, err)
	}
	wrong = errors.Join(wrong, s.out.WriteLog(ctx, &b, s.logs, s.secrets.hide))
	if wrong == nil {
		wrong = s.out.WriteRecord(outdir.Describe(&b, code, s.secrets.hide))
	}
	if wrong != nil {
		code = exitFault
	}
	shown := s.req.shown
	if wrong != nil {
		shown = ""
	}
	s.screen.summary(ctx, show.Ending{Build: &b, Logs: logTail{s.logs}, Output: shown, Notes: s.notes()})
	if all := errors.Join(broken, wrong, s.screen.err()); all != nil {
		if errors.Is(all, syscall.ENOSPC) || errors.Is(all, syscall.EDQUOT) {
			all = fmt.Errorf("%w\nfree some space below %s, or choose another directory with --output", all, s.out.Path())
		}
		return &exitError{code: code, err: all}
	}
	return said(code)
}

// logTail adds to the logs what the summary needs to read only their ends.
type logTail struct{ *logs.Store }

// Size tells how long a log is, and whether it is whole.
func (l logTail) Size(id ci.StepID) (int64, bool) {
	info, err := l.Stat(id)
	return info.Size, err == nil && info.Sealed
}

func (s *session) close() {
	if s.claim != nil {
		_ = s.claim.release()
	}
	if s.journal != nil {
		_ = s.journal.Close()
	}
	if s.logs != nil {
		_ = s.logs.Close()
	}
	if s.out != nil {
		if err := s.out.Close(); err != nil {
			warn(err.Error())
		}
	}
}

// sweep removes what dead runs of this user left behind. It takes its time, and
// none of the build's.
func (s *session) sweep(ctx context.Context) {
	r := newRegistry(s.env.home)
	entries, err := os.ReadDir(filepath.Join(s.env.home, "sandboxes"))
	if err == nil && len(entries) > 0 {
		_ = s.placer.local().Sweep(ctx, r.owned) // what cannot be removed now is tried again by the next run
	}
	_ = sweepEngine(ctx, s.placer, r.owned) // the same
	r.tidyAll()
}
