package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// TestRetryOfFailedJobs does again what did not succeed, and takes the rest over.
func TestRetryOfFailedJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job := func(commands, more string) string {
		return "version: 0.2\nphases: {build: {commands: [" + commands + "]}}\n" + more
	}
	body := tree(t,
		"buildspec.yml", `version: 0.2
batch:
  fast-fail: false
  build-graph:
    - {identifier: compile, buildspec: compile.yml}
    - {identifier: unit, buildspec: unit.yml, depend-on: [compile]}
    - {identifier: lint, buildspec: lint.yml}
    - {identifier: ship, buildspec: lint.yml, depend-on: [unit, lint]}
`,
		"compile.yml", job("'write out.txt made'", "artifacts: {files: [out.txt], name: made}\n"),
		"unit.yml", job("'exit 3'", ""), "lint.yml", job("'echo clean'", ""))
	w.project("app", "phases: {}")
	u, _, err := w.send("app", body)
	if err != nil {
		t.Fatal(err)
	}
	batch := true
	w.start("app", client.StartBuild{Source: &u.Source, Batch: &batch})
	if b := w.done("app", 1); b.Status != client.Failed || len(b.Jobs) != 4 {
		t.Fatalf("got %s: %s %+v", b.Status, b.Reason, b.Problems)
	}
	check := func(number int64, o client.RetryOptions, ran ...string) client.Build {
		t.Helper()
		if _, made, err := w.admin.RetryBuild(t.Context(), "app", number, o); err != nil || !made {
			t.Fatalf("%+v: made %v, %v", o, made, err)
		}
		page, err := w.admin.Builds(t.Context(), client.BuildFilter{Project: "app"})
		if err != nil {
			t.Fatal(err)
		}
		b := w.done("app", page.Items[0].Number)
		for _, j := range b.Jobs {
			if again := slices.Contains(ran, j.Name); again == (j.From != "") || again != (len(j.Steps) > 0) && j.Name != "ship" {
				t.Errorf("%+v: %s is from %q, with %d steps", o, j.Name, j.From, len(j.Steps))
			}
		}
		return b
	}
	b := check(1, client.RetryOptions{Failed: true}, "unit", "ship")
	if b.Status != client.Failed || b.Jobs[0].Reason != "taken over from app #1" || b.Jobs[0].Status != client.Succeeded {
		t.Errorf("got %s (%s), %+v", b.Status, b.Reason, b.Jobs[0])
	}
	if len(b.Jobs[0].Artifacts) != 1 || b.Jobs[0].Artifacts[0].Name != "made" {
		t.Errorf("got artifacts %+v", b.Jobs[0].Artifacts)
	}
	if log := w.readLog("app", b.Number, client.LogOptions{}); strings.Contains(log, "clean") {
		t.Errorf("what was not run is in the log: %q", log)
	}
	check(b.Number, client.RetryOptions{From: "lint"}, "lint", "unit", "ship")
	check(1, client.RetryOptions{}, "compile", "lint", "unit", "ship")
	for want, o := range map[string]client.RetryOptions{
		`body.from: a job runs in a new sandbox, and so from its first phase on: name the job alone, "unit"`: {From: "unit/BUILD"},
		`has no job "x": want one of compile, unit, lint, ship`:                                              {From: "x"},
		"body.from: goes with failed": {From: "unit", Failed: true},
	} {
		_, _, err := w.admin.RetryBuild(t.Context(), "app", 1, o)
		wantError(t, err, 422, "invalid", want)
	}
	w.project("good", "phases: {build: {commands: [echo]}}")
	w.start("good", client.StartBuild{})
	w.done("good", 1)
	_, _, err = w.admin.RetryBuild(t.Context(), "good", 1, client.RetryOptions{Failed: true})
	wantError(t, err, 409, "conflict", "is of a directory, which may have changed since")
	// The build that they were taken from may go, but not before.
	if err := w.admin.DeleteBuild(t.Context(), "app", 1); err != nil {
		t.Fatal(err)
	}
	if got, err := w.admin.Build(t.Context(), "app", b.Number); err != nil || got.Jobs[0].Status != client.Succeeded {
		t.Errorf("got %+v, %v", got, err)
	}
}
