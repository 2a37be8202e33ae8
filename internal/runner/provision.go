package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// provision gets the job its sandbox.
func (j *job) provision(ctx context.Context, _ *ci.StepRun) error {
	work := func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
		if err := j.open(ctx, log); err != nil {
			return err
		}
		placed := j.sandbox.Placed()
		s.Note, s.Environment = placedText(placed), &placed
		return nil
	}
	return j.action(ctx, ci.PhaseProvisioning, "sandbox", "Provision the environment", work)
}

func (j *job) open(ctx context.Context, log io.Writer) error {
	executor, runtime, err := j.r.cfg.Place(ctx, j.a.Runtime)
	if err != nil {
		return placeError(err)
	}
	sandbox, err := executor.Open(ctx, ci.Placement{
		Job: j.a.Run.ID, Runtime: runtime, Secrets: j.r.cfg.Registry, Log: log,
		BuildContext: func(ctx context.Context, tar io.Writer) error {
			return j.r.cfg.Fetcher.Archive(ctx, j.a.Build.Source, j.a.Build.Commit, tar)
		},
	})
	if err != nil {
		return placeError(err)
	}
	j.sandbox = sandbox
	logLine(log, "%s", placedText(sandbox.Placed()))
	if sandbox.Fresh() && j.a.Began && j.touched() {
		return errors.New("lost: the sandbox is gone in which the job had begun; start the build again")
	}
	return nil
}

// touched says whether the job had done anything in its sandbox.
func (j *job) touched() bool {
	for _, s := range j.a.Run.Steps {
		if s.Kind != ci.KindPhase && s.Phase != ci.PhaseProvisioning {
			return true
		}
	}
	return false
}

// placeError tells what the build asked for and cannot have from what broke.
func placeError(err error) error {
	var image interface{ Code() string } // an image that cannot be had, whatever the reason
	if errors.As(err, &image) {
		return &failure{code: image.Code(), err: err}
	}
	for _, own := range []error{ci.ErrNotFound, ci.ErrDenied, ci.ErrInvalid} {
		if errors.Is(err, own) {
			return &failure{code: ci.CodePullImage, err: err}
		}
	}
	return err
}

func placedText(p ci.Placed) string {
	parts := []string{p.Executor}
	if p.Image != "" {
		parts = append(parts, p.Image)
	}
	if p.Isolation != "" {
		parts = append(parts, p.Isolation)
	}
	var limits []string
	if p.CPUs > 0 {
		limits = append(limits, fmt.Sprintf("%g CPU", p.CPUs))
	}
	if p.Memory > 0 {
		limits = append(limits, bytesText(p.Memory))
	}
	if len(limits) > 0 {
		parts = append(parts, strings.Join(limits, ", "))
	}
	return strings.Join(parts, "; ")
}

// download gets the source, the variables and the cache into the sandbox.
func (j *job) download(ctx context.Context, _ *ci.StepRun) error {
	if j.sandbox == nil { // provisioned by an earlier process
		if err := j.open(ctx, io.Discard); err != nil {
			return err
		}
	}
	if err := j.variables(ctx); err != nil {
		return err
	}
	err := j.action(ctx, ci.PhaseDownloadSource, "source", "Fetch the source", func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
		n, err := j.fetch(ctx)
		if err != nil {
			return err
		}
		s.Note = bytesText(n)
		logLine(log, "%s (%s) to %s", j.a.Build.Source.Location, s.Note, j.sandbox.Dirs().Source)
		return nil
	})
	if err != nil {
		return err
	}
	return j.restoreCache(ctx)
}

// fetch streams the source into the sandbox and returns its size as a tar.
func (j *job) fetch(ctx context.Context) (int64, error) {
	r, w := io.Pipe()
	count := &counter{w: w}
	done := make(chan error, 1)
	go func() {
		err := j.r.cfg.Fetcher.Archive(ctx, j.a.Build.Source, j.a.Build.Commit, count)
		_ = w.CloseWithError(err) // nil closes with EOF
		done <- err
	}()
	putErr := j.sandbox.Put(ctx, j.sandbox.Dirs().Source, r)
	_ = r.CloseWithError(errors.New("the sandbox takes no more"))
	switch err := <-done; {
	case putErr != nil:
		return 0, fmt.Errorf("put the source into the sandbox: %w", putErr)
	case err != nil:
		return 0, failf(ci.CodeClient, "fetch the source: %w", err)
	}
	return count.n, nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
