package outdir

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

func keepText(s string) string { return s }

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOpenClears: nothing of the last build stays, all of the user's own does.
func TestOpenClears(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := d.Number(); err != nil || n != 1 {
		t.Fatalf("first number: %d, %v", n, err)
	}
	old := []string{"build.json", "build.log", "artifacts/a/b", "reports/r/x.xml", "state/logs/l", "state/jobs/j/artifacts/x"}
	for _, name := range append(old, "notes.txt", "state/old-1/logs/of-a-killed-run") {
		write(t, filepath.Join(path, name))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range old {
		if _, err := os.Lstat(filepath.Join(path, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(path, "notes.txt")); err != nil {
		t.Errorf("a file of the user's own is gone: %v", err)
	}
	if n, err := d.Number(); err != nil || n != 2 {
		t.Errorf("second number: %d, %v", n, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(path, "state")); err != nil || len(left) != 2 {
		t.Errorf("the state holds %v (%v), want its lock and its number", left, err)
	}
	if text, _ := os.ReadFile(filepath.Join(path, ".gitignore")); string(text) != "*\n" {
		t.Errorf(".gitignore holds %q", text)
	}
}

func TestOneBuildAtATime(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, "build.json"))
	if _, err := Open(path); !errors.Is(err, ci.ErrConflict) || !strings.Contains(err.Error(), "--output") {
		t.Errorf("a second build at once: %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, "build.json")); err != nil {
		t.Errorf("the refused build removed the record of the first: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatalf("after the first is done: %v", err)
	}
	_ = again.Close()
}

// texts are logs by step.
type texts map[ci.StepID]string

func (l texts) Open(_ context.Context, id ci.StepID, _ int64) (io.ReadCloser, error) {
	text, ok := l[id]
	if !ok {
		return nil, ci.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func sample(batch bool) *ci.Build {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	exit := &ci.Exit{Code: 3}
	job := func(name string) ci.JobRun {
		id := ci.JobID("b/" + name)
		return ci.JobRun{
			ID: id, Name: name, Status: ci.Failed, Reason: "password", Started: at, Ended: at.Add(time.Second),
			Environment: ci.Placed{Executor: "local", Isolation: "sandbox"},
			Exports:     []ci.Variable{{Name: "X", Value: "a password b"}},
			Artifacts:   []ci.Artifact{{Name: "app", Path: "artifacts/app", Format: "folder", Files: 1}},
			Usage:       ci.Usage{CPUSeconds: 1, PeakMemory: 100},
			Reports: []ci.Report{
				{Type: "TEST", Summary: ci.TestSummary{Total: 2, Succeeded: 1, Failed: 1}},
				{Type: "CODE_COVERAGE", Coverage: ci.Coverage{LinesCovered: 3, LinesMissed: 1}},
			},
			Steps: []ci.StepRun{
				{ID: id.Step("BUILD"), Kind: ci.KindPhase, Phase: ci.PhaseBuild, Status: ci.Failed, Started: at, Ended: at.Add(time.Second),
					Contexts: []ci.PhaseContext{{Code: ci.CodeCommandFailed, Message: "Error: password"}}},
				{ID: id.Step("BUILD/0"), Kind: ci.KindCommand, Phase: ci.PhaseBuild, Title: "login password\n", Pos: ci.Pos{File: "buildspec.yml", Line: 4},
					Status: ci.Failed, Exit: exit, Started: at, Ended: at.Add(time.Second)},
				{ID: id.Step("BUILD/1"), Kind: ci.KindCommand, Phase: ci.PhaseBuild, Title: "lost", Status: ci.Running, Started: at},
			},
		}
	}
	b := &ci.Build{ID: "b", Number: 3, Project: "app", Status: ci.Failed, Reason: "password", File: "buildspec.yml", Queued: at, Ended: at, Batch: batch, Jobs: []ci.JobRun{job("one")}}
	if batch {
		b.Jobs = append(b.Jobs, job("two"))
	}
	return b
}

func hidePassword(s string) string { return strings.ReplaceAll(s, "password", "***") }

func TestRecord(t *testing.T) {
	t.Parallel()
	for _, batch := range []bool{false, true} {
		d, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.WriteRecord(Describe(sample(batch), 1, hidePassword)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(d.Path(), RecordFile))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "password") {
			t.Errorf("batch %t: the record holds a secret:\n%s", batch, text)
		}
		var r Record
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		o, jobs := r.Outcome, 0
		if batch {
			jobs = 2
			if o.Usage.CPUSeconds != 2 || len(o.Artifacts) != 2 || o.Tests.Failed != 2 {
				t.Errorf("the sum of the jobs: %+v", o)
			}
			o = r.Jobs[1].Outcome
		}
		if len(r.Jobs) != jobs || o.Tests.Total != 2 || o.Coverage.LinePercent != 75 || o.Exported["X"] != "a *** b" {
			t.Errorf("batch %t: %s", batch, text)
		}
		c := o.Commands[0]
		if *c.ExitCode != 3 || c.Line != 4 || c.Seconds != 1 || o.Commands[1].ExitCode != nil {
			t.Errorf("commands: %+v", o.Commands)
		}
		if o.Phases[0].Type != ci.PhaseSubmitted || o.Phases[1].Type != ci.PhaseQueued {
			t.Errorf("phases begin with %+v", o.Phases[:2])
		}
		if p := o.Phases[2]; p.Status != "FAILED" || p.Seconds != 1 || p.Contexts[0].Message != "Error: ***" {
			t.Errorf("phase: %+v", p)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteLog(context.Background(), sample(false), texts{"b/one/BUILD/0": "out\nno end", "b/one/BUILD/1": "as far as it came"}, hidePassword); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(d.Path(), LogFile))
	if err != nil {
		t.Fatal(err)
	}
	const at = "[Container] 2026/01/02 03:04:05.678000 "
	const later = "[Container] 2026/01/02 03:04:06.678000 "
	want := at + "Running on Sluice: local; sandbox\n" +
		at + "Entering phase BUILD\n" +
		at + "Running command login ***\nout\nno end\n\n" +
		later + "Command did not exit successfully login *** exit status 3\n" +
		at + "Running command lost\nas far as it came\n" +
		later + "Phase complete: BUILD State: FAILED\n" +
		later + "Phase context status code: COMMAND_EXECUTION_ERROR Message: Error: ***\n"
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestGather(t *testing.T) {
	t.Parallel()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := sample(true)
	for i := range b.Jobs {
		write(t, filepath.Join(d.Job(b.Jobs[i].ID, true), "artifacts", "app", "file"))
	}
	if err := d.Gather(b); err != nil {
		t.Fatal(err)
	}
	for _, j := range b.Jobs {
		if want := "artifacts/" + j.Name + "/app"; j.Artifacts[0].Path != want {
			t.Errorf("path %q, want %q", j.Artifacts[0].Path, want)
		}
		if _, err := os.Stat(filepath.Join(d.Path(), j.Artifacts[0].Path, "file")); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	d, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 100_000)
	build := sample(false)
	build.Jobs[0].Steps = build.Jobs[0].Steps[:2]
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := d.WriteLog(context.Background(), build, texts{"b/one/BUILD/0": text}, keepText); err != nil {
			b.Fatal(err)
		}
	}
}
