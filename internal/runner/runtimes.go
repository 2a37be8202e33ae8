package runner

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/runtimes"
)

// runtimesFile is where an image says which runtimes it has (codebuild.md 1.5.3).
const runtimesFile = "/codebuild/image/config/runtimes.yml"

// runtimeFinder is a sandbox that can write runtimesFile on demand, as the local
// one does from what it finds on the host.
type runtimeFinder interface {
	EnsureRuntimes(ctx context.Context) error
}

// selectRuntimes switches to the wanted runtime versions, at the start of
// INSTALL. An image without a runtimes file is a warning only, as on CodeBuild.
func (j *job) selectRuntimes(ctx context.Context) error {
	wanted := j.a.Job.Versions
	if len(wanted) == 0 {
		return nil
	}
	return j.action(ctx, ci.PhaseInstall, "runtimes", "Select runtime versions", func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
		file, err := j.runtimesFile(ctx)
		if err != nil {
			return err
		}
		if file == nil {
			s.Note = "not supported by this build image"
			logLine(log, "Skipping install of runtimes. Runtime version selection is not supported by this build image")
			return nil
		}
		selection, err := runtimes.Select(file, wanted, j.value)
		for _, line := range selection.Lines {
			logLine(log, "%s", line)
		}
		if err != nil && j.r.cfg.AnyRuntime && errors.Is(err, ci.ErrInvalid) {
			s.Note = "not all versions are there"
			logLine(log, "%s", err)
			logLine(log, "Going on with what there is, as --any-runtime says.")
			return nil
		}
		if err != nil {
			return &failure{code: ci.CodeYAML, err: fmt.Errorf("%w\n(with --any-runtime the build goes on with what there is)", err)}
		}
		s.Versions = selection.Versions()
		return j.switchRuntimes(ctx, s, log, selection.Commands())
	})
}

// switchRuntimes runs the image's own commands in the session.
func (j *job) switchRuntimes(ctx context.Context, s *ci.StepRun, log io.Writer, commands []string) error {
	for i, command := range commands {
		logLine(log, "Running command %s", command)
		c := ci.Command{
			ID: ci.StepID(fmt.Sprintf("%s-%d", s.ID, i)), Script: command,
			Shell: j.a.Job.Shell, Session: j.session(), Env: j.startEnv(),
		}
		exit, err := j.pump(ctx, c, appendOnly{log})
		if err != nil {
			return err
		}
		j.entered = true
		if exit.Code != 0 {
			return failf(ci.CodeCommandFailed, "Error while executing command: %s. Reason: exit status %d", command, exit.Code)
		}
	}
	return nil
}

// appendOnly takes the output of several commands into one log; each is read
// from its beginning.
type appendOnly struct{ io.Writer }

func (appendOnly) Close() error { return nil }
func (appendOnly) Raw() int64   { return 0 }

// runtimesFile reads the image's runtimes.yml; nil when it has none.
func (j *job) runtimesFile(ctx context.Context) ([]byte, error) {
	if f, ok := j.sandbox.(runtimeFinder); ok {
		if err := f.EnsureRuntimes(ctx); err != nil {
			return nil, fmt.Errorf("find the runtimes of this machine: %w", err)
		}
	}
	var packed bytes.Buffer
	matched, err := j.sandbox.Get(ctx, ci.FileSet{Dir: "/", Globs: []string{runtimesFile}}, &packed)
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", runtimesFile, err)
	}
	if matched.Files == 0 {
		return nil, nil
	}
	tr := tar.NewReader(&packed)
	if _, err := tr.Next(); err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", runtimesFile, err)
	}
	text, err := io.ReadAll(io.LimitReader(tr, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", runtimesFile, err)
	}
	return text, nil
}
