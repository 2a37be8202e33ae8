package outdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// StepLogs is where the output of steps is read from, as far as it came.
type StepLogs interface {
	Open(ctx context.Context, step ci.StepID, from int64) (io.ReadCloser, error)
}

// WriteLog writes build.log: the whole log as CodeBuild would have written it
// (its line grammar, so that tools that read CodeBuild's logs read this one), the
// jobs of a batch one after the other.
func (d *Dir) WriteLog(ctx context.Context, b *ci.Build, logs StepLogs, hide func(string) string) error {
	name := filepath.Join(d.path, LogFile)
	f, err := os.CreateTemp(d.path, "."+LogFile+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", LogFile, err)
	}
	defer os.Remove(f.Name())
	w := &logText{f: f, logs: logs, hide: hide, buf: make([]byte, 0, 8<<10)}
	w.build(ctx, b)
	w.flush()
	err = errors.Join(w.err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", LogFile, err)
	}
	return nil
}

// logText writes CodeBuild's grammar. Its own lines are gathered; the output of
// steps goes from file to file.
type logText struct {
	f    *os.File
	logs StepLogs
	hide func(string) string
	buf  []byte
	err  error
	copy []byte
}

const stamp = "2006/01/02 15:04:05.000000"

func (w *logText) line(at time.Time, format string, args ...any) {
	w.buf = append(w.buf, "[Container] "...)
	w.buf = at.UTC().AppendFormat(w.buf, stamp)
	w.buf = append(w.buf, ' ')
	w.buf = append(w.buf, w.hide(fmt.Sprintf(format, args...))...)
	w.buf = append(w.buf, '\n')
}

func (w *logText) flush() {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.f.Write(w.buf)
	}
	w.buf = w.buf[:0]
}

func (w *logText) build(ctx context.Context, b *ci.Build) {
	for i, p := range b.Problems {
		if i == 0 {
			w.line(b.Ended, "Phase context status code: %s Message: %s", ci.CodeYAML, p.String())
			continue
		}
		w.line(b.Ended, "%s", p.String())
	}
	if len(b.Jobs) == 0 && len(b.Problems) == 0 {
		w.line(b.Ended, "Build %s: %s", b.Status, b.Reason)
	}
	for i := range b.Jobs {
		j := &b.Jobs[i]
		if b.Batch || len(b.Jobs) > 1 {
			if i > 0 {
				w.buf = append(w.buf, '\n')
			}
			at := j.Started
			if at.IsZero() {
				at = j.Queued
			}
			w.line(at, "Build %s of the batch: %s %s", strings.TrimPrefix(string(j.ID), string(b.ID)+"/"), j.Status.CodeBuild(), j.Reason)
		}
		w.job(ctx, b, j)
	}
}

func (w *logText) job(ctx context.Context, b *ci.Build, j *ci.JobRun) {
	if len(j.Steps) == 0 {
		return
	}
	w.line(j.Started, "Running on Sluice: %s", place(j.Environment))
	for i := range j.Steps {
		s := &j.Steps[i]
		switch s.Kind {
		case ci.KindPhase:
			w.enter(b, j, s)
			w.inside(ctx, j, s)
			w.leave(s)
		}
		if w.err != nil {
			return
		}
	}
}

// place says where a job ran, in one line.
func place(p ci.Placed) string {
	parts := []string{p.Executor}
	for _, part := range []string{p.Image, p.Digest, p.Isolation, p.Size} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if parts[0] == "" {
		return "no environment was provisioned"
	}
	return strings.Join(parts, "; ")
}

func (w *logText) enter(b *ci.Build, j *ci.JobRun, s *ci.StepRun) {
	switch s.Phase {
	case ci.PhaseProvisioning, ci.PhaseUploadArtifacts, ci.PhaseFinalizing, ci.PhaseCompleted:
		return
	case ci.PhaseDownloadSource:
		w.line(s.Started, "Phase is DOWNLOAD_SOURCE")
		w.line(s.Started, "YAML location is %s", b.File)
		w.line(s.Started, "Processing environment variables")
		return
	}
	w.line(s.Started, "Entering phase %s", s.Phase)
}

// inside writes the commands and actions of a phase, in the order of their start.
func (w *logText) inside(ctx context.Context, j *ci.JobRun, phase *ci.StepRun) {
	for i := range j.Steps {
		s := &j.Steps[i]
		if s.Phase != phase.Phase || s.Kind == ci.KindPhase || w.err != nil {
			continue
		}
		if s.Kind == ci.KindCommand {
			w.line(s.Started, "Running command %s", strings.TrimRight(s.Title, "\n"))
		}
		w.output(ctx, s)
		if s.Kind == ci.KindCommand && s.Exit != nil && s.Exit.Code != 0 {
			w.buf = append(w.buf, '\n')
			w.line(s.Ended, "Command did not exit successfully %s exit status %d", strings.TrimRight(s.Title, "\n"), s.Exit.Code)
		}
	}
}

func (w *logText) leave(s *ci.StepRun) {
	if s.Phase == ci.PhaseCompleted {
		return
	}
	if !s.Status.Done() {
		w.line(s.Started, "Phase %s did not end", s.Phase)
		return
	}
	w.line(s.Ended, "Phase complete: %s State: %s", s.Phase, s.Status.CodeBuild())
	c := ci.PhaseContext{}
	if len(s.Contexts) > 0 {
		c = s.Contexts[0]
	}
	w.line(s.Ended, "Phase context status code: %s Message: %s", c.Code, c.Message)
}

// output copies a step's log, as far as it came.
func (w *logText) output(ctx context.Context, s *ci.StepRun) {
	w.flush()
	if w.err != nil {
		return
	}
	r, err := w.logs.Open(ctx, s.ID, 0)
	if errors.Is(err, ci.ErrNotFound) && (!s.Status.Done() || s.Status == ci.Errored) {
		return // it did not come to that
	}
	if err != nil {
		w.line(s.Started, "The output of this step cannot be read: %s", err)
		return
	}
	defer r.Close()
	if w.copy == nil {
		w.copy = make([]byte, 256<<10)
	}
	last := byte('\n')
	for w.err == nil {
		n, err := r.Read(w.copy)
		if n > 0 {
			last = w.copy[n-1]
			_, w.err = w.f.Write(w.copy[:n])
		}
		if err != nil {
			if err != io.EOF {
				w.line(s.Started, "The rest of this step's output cannot be read: %s", err)
			}
			break
		}
	}
	if last != '\n' {
		w.buf = append(w.buf, '\n')
	}
}
