package api_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

const graph = `
batch:
  build-graph:
    - {identifier: first, buildspec: first.yml}
    - {identifier: second, buildspec: second.yml}
    - {identifier: third, buildspec: third.yml, depend-on: [first, second]}
`

// TestLogOfManyJobs has jobs that run at once: each has its place in the log of
// the whole, whichever prints first, and a reader who follows sees the same bytes.
func TestLogOfManyJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("web", graph)
	for name, text := range map[string]string{
		"first.yml":  "version: 0.2\nphases: {build: {commands: ['echo a; wait gate; echo b']}}\n",
		"second.yml": "version: 0.2\nphases: {build: {commands: ['echo c']}}\n",
		"third.yml":  "version: 0.2\nphases: {build: {commands: ['echo d']}}\n",
	} {
		w.file("web", name, text)
	}
	p.Batch = true
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.start("web", client.StartBuild{})
	<-w.script.Reached("gate")
	var work sync.WaitGroup
	followed := map[bool]string{}
	var mu sync.Mutex
	for _, all := range []bool{false, true} {
		r, err := w.admin.Log(t.Context(), "web", 1, client.LogOptions{Follow: true, All: all})
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			defer r.Close()
			text, err := io.ReadAll(r)
			mu.Lock()
			defer mu.Unlock()
			if followed[all] = string(text); err != nil {
				t.Error(err)
			}
		})
	}
	w.script.Release("gate")
	if b := w.done("web", 1); b.Status != client.Succeeded || len(b.Jobs) != 3 {
		t.Fatalf("got %s with %d jobs: %s", b.Status, len(b.Jobs), b.Reason)
	}
	work.Wait()
	if got, want := w.readLog("web", 1, client.LogOptions{}), "a\nb\nc\nd\n"; got != want || followed[false] != want {
		t.Errorf("got %q, followed %q; want %q", got, followed[false], want)
	}
	all := w.readLog("web", 1, client.LogOptions{All: true})
	if all != followed[true] {
		t.Errorf("followed:\n%s\nstored:\n%s", followed[true], all)
	}
	for _, want := range []string{"=== job first\n", "=== job second\n", "=== job third\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("the log lacks %q:\n%s", want, all)
		}
	}
}

// TestLogsOfBuildsThatWentWrong comes to an end where a log has none of its own.
func TestLogsOfBuildsThatWentWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, spec, own, all string }{
		{"command", "phases: {build: {commands: ['printf half; exit 3', 'echo never']}}\n", "half", "half\n!!! failed: Error while executing command"},
		{"lost", "phases: {build: {commands: ['echo one; wait gate; lose', 'echo never']}}\n", "one\n", "=== errored: "},
		{"definition", "phases: {build: {comands: []}}\n", "", "buildspec.yml:2"},
		{"nothing", "phases: {build: {commands: []}}\n", "", "=== "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("web", c.spec)
			w.start("web", client.StartBuild{})
			// Followed from the beginning, which begins before anything is there. The
			// sandbox is lost when what it said has arrived, and not before.
			r, err := w.admin.Log(t.Context(), "web", 1, client.LogOptions{Follow: true})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			first := make([]byte, len(c.own))
			_, err = io.ReadFull(r, first)
			w.script.Release("gate")
			rest, restErr := io.ReadAll(r)
			if err := errors.Join(err, restErr); err != nil || string(first) != c.own || len(rest) > 0 {
				t.Errorf("followed: got %q and %q, %v, want %q", first, rest, err, c.own)
			}
			b := w.done("web", 1)
			if got := w.readLog("web", 1, client.LogOptions{}); got != c.own {
				t.Errorf("got %q, want %q (%s: %s)", got, c.own, b.Status, b.Reason)
			}
			all := w.readLog("web", 1, client.LogOptions{All: true})
			if !strings.Contains(all, c.all) {
				t.Errorf("the whole log lacks %q:\n%s", c.all, all)
			}
			if got := w.readLog("web", 1, client.LogOptions{All: true, Follow: true, From: 4}); got != all[min(4, len(all)):] {
				t.Errorf("followed from byte 4: got %q, want what is there of %q", got, all)
			}
			if got := w.readLog("web", 1, client.LogOptions{Follow: true, From: 1 << 40}); got != "" {
				t.Errorf("from beyond the end: got %q", got)
			}
		})
	}
}

// TestLogThatWasNeverSealed has the server die with a step's log open, and the
// build ended by the next one: who follows gets what there is, and an end.
func TestLogThatWasNeverSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	now := time.Now()
	b := ci.Build{
		ID: ci.NewBuildID(now), Project: "web", Status: ci.Queued, Queued: now,
		Source: ci.Source{Type: "directory", Location: filepath.Join(w.dir, "source", "web")},
	}
	b, _, err := w.store.Create(t.Context(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	job := ci.JobRun{ID: b.ID.Job("build", 1), Name: "build", Status: ci.Queued, Queued: now}
	step := ci.StepRun{ID: job.ID.Step("BUILD/0"), Kind: ci.KindCommand, Phase: ci.PhaseBuild, Status: ci.Running, Started: now}
	seq := int64(1)
	tell := func(kind ci.EventType, data any) {
		t.Helper()
		e := ci.NewEvent(kind, data)
		seq++
		e.Seq, e.Time = seq, now
		if err := w.store.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	b.Status, b.Plan = ci.Running, &ci.Plan{Jobs: []ci.Job{{Name: "build"}}}
	tell(ci.EventBuildStarted, b)
	tell(ci.EventJobQueued, job)
	job.Status = ci.Running
	tell(ci.EventJobStarted, job)
	tell(ci.EventStepStarted, step)
	out, err := w.logs.Append(t.Context(), step.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("all that there is\n")); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	job.Status, job.Reason = ci.Errored, "lost"
	tell(ci.EventJobFinished, job)
	b.Status, b.Plan = ci.Errored, nil
	tell(ci.EventBuildFinished, b)

	for _, follow := range []bool{false, true} {
		if got, want := w.readLog("web", 1, client.LogOptions{Follow: follow, From: 4}), "that there is\n"; got != want {
			t.Errorf("follow %v: got %q, want %q", follow, got, want)
		}
	}
	r, err := w.admin.StepLog(t.Context(), "web", 1, "build/BUILD/0", client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := io.ReadAll(r); string(text) != "all that there is\n" || err != nil {
		t.Errorf("the step's log: got %q, %v", text, err)
	}
}
