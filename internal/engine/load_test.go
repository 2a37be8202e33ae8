package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	var c clock
	e := server(t, engine.Config{Now: c.now, Capacity: engine.Demand{CPUs: 4, Memory: 8 * gib}})
	begin(t, e, engine.Request{Project: "big", Number: 7, Runtime: ci.Runtime{CPUs: 2, Memory: 7 * gib, Executor: "docker"}})
	a := claim(t, e)
	c.forward(time.Second)
	begin(t, e, engine.Request{Project: "web", Number: 1, Runtime: ci.Runtime{Memory: 2 * gib}})
	c.forward(time.Second)
	begin(t, e, engine.Request{Project: "web", Number: 2})
	phase := ci.StepRun{ID: a.Run.ID.Step("BUILD"), Kind: ci.KindPhase, Phase: ci.PhaseBuild, Started: c.now()}
	if err := e.StepStarted(t.Context(), phase); err != nil {
		t.Fatal(err)
	}
	for e.Waits(a.Build.ID) != "" || len(e.Load().Waiting) != 2 || e.Load().Waiting[1].Job == "" { // until both are compiled
	}
	l := e.Load()
	if l.Capacity != (ci.Share{CPUs: 4, Memory: 8 * gib}) || l.Used != (ci.Share{CPUs: 2, Memory: 7 * gib}) {
		t.Errorf("got %+v of %+v", l.Used, l.Capacity)
	}
	var got []string
	for _, list := range [][]ci.LoadJob{l.Running, l.Waiting} {
		for _, j := range list {
			got = append(got, fmt.Sprintf("%s/%d %s %s %s %v %s", j.Project, j.Number, j.Job, j.Executor, j.Phase, j.Takes.CPUs, j.For))
		}
	}
	if want := "big/7 a docker BUILD 2 \nweb/1 a   0 memory\nweb/2 a   0 order"; strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	finish(t, e, a)
	for range 2 {
		finish(t, e, claim(t, e))
	}
	if l := e.Load(); len(l.Running)+len(l.Waiting) != 0 || l.Used != (ci.Share{}) {
		t.Errorf("when all is done: %+v", l)
	}
}
