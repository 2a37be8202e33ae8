package ci_test

import (
	"errors"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func build(t *testing.T, events ...ci.Event) ci.Build {
	t.Helper()
	var b ci.Build
	for i, e := range events {
		if err := b.Apply(e); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
	return b
}

var (
	queued  = ci.NewEvent(ci.EventBuildQueued, ci.Build{ID: "b", Status: ci.Queued})
	started = ci.NewEvent(ci.EventBuildStarted, ci.Build{ID: "b", Status: ci.Running, Plan: &ci.Plan{Version: 1}})
	job     = ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: "b/j", Name: "j", Status: ci.Queued})
	claimed = ci.NewEvent(ci.EventJobStarted, ci.JobRun{ID: "b/j", Name: "j", Status: ci.Running})
	step    = ci.NewEvent(ci.EventStepStarted, ci.StepRun{ID: "b/j/BUILD/0", Status: ci.Running})
	stepped = ci.NewEvent(ci.EventStepFinished, ci.StepRun{ID: "b/j/BUILD/0", Status: ci.Failed})
	ended   = ci.NewEvent(ci.EventJobFinished, ci.JobRun{ID: "b/j", Name: "j", Status: ci.Failed})
	done    = ci.NewEvent(ci.EventBuildFinished, ci.Build{ID: "b", Status: ci.Failed})
)

func TestApplyFoldsABuild(t *testing.T) {
	t.Parallel()
	b := build(t, queued, started, job, claimed, step, stepped, ended, done)
	if b.Status != ci.Failed || b.Plan == nil || len(b.Jobs) != 1 {
		t.Fatalf("got %+v", b)
	}
	j := b.Job("b/j")
	if j.Status != ci.Failed || len(j.Steps) != 1 || j.Steps[0].Status != ci.Failed {
		t.Errorf("got job %+v", j)
	}
}

func TestApplyRefusesMovesThatDoNotExist(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before []ci.Event
		event  ci.Event
	}{
		"a build queued twice":           {[]ci.Event{queued}, queued},
		"a build that is done starts":    {[]ci.Event{queued, started, done}, started},
		"a build that is done ends":      {[]ci.Event{queued, started, done}, done},
		"a job that was never queued":    {[]ci.Event{queued, started}, claimed},
		"a job started twice":            {[]ci.Event{queued, started, job, claimed}, claimed},
		"a job that is done ends":        {[]ci.Event{queued, started, job, claimed, ended}, ended},
		"a step of a job that waits":     {[]ci.Event{queued, started, job}, step},
		"a step of a job that is done":   {[]ci.Event{queued, started, job, claimed, ended}, step},
		"a step that is done goes on":    {[]ci.Event{queued, started, job, claimed, step, stepped}, step},
		"a step of a job there is not":   {[]ci.Event{queued, started}, step},
		"a queued build ends by success": {[]ci.Event{queued}, ci.NewEvent(ci.EventBuildFinished, ci.Build{ID: "b", Status: ci.Succeeded})},
	} {
		b := build(t, c.before...)
		if err := b.Apply(c.event); !errors.Is(err, ci.ErrConflict) {
			t.Errorf("%s: got %v, want ErrConflict", name, err)
		}
	}
}
