package engine_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
)

// why is the decision stored with the first event of a type about a job, "" = the build.
func why(t *testing.T, e *engine.Engine, id ci.BuildID, what ci.EventType, job string) ci.Decision {
	t.Helper()
	events, err := e.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if ev.Type == what && (job == "" || ev.Job.Name() == job) {
			if ev.Why == nil {
				t.Fatalf("%s of %s says nothing of why", what, id)
			}
			return *ev.Why
		}
	}
	t.Fatalf("build %s has no %s", id, what)
	return ci.Decision{}
}

func wantConditions(t *testing.T, got []ci.Condition, want ...ci.Condition) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("conditions:\n got %+v\nwant %+v", got, want)
	}
}

// clock is moved by hand.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time           { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) forward(by time.Duration) { c.at.Add(int64(by)) }

func TestWaitsAreKept(t *testing.T) {
	t.Parallel()
	var c clock
	e := server(t, engine.Config{Now: c.now, Capacity: engine.Demand{CPUs: 4, Memory: 8 * gib}})
	begin(t, e, engine.Request{Project: "big", Number: 7, Runtime: ci.Runtime{CPUs: 2, Memory: 7 * gib}})
	first := claim(t, e)
	second := begin(t, e, engine.Request{Project: "web", Runtime: ci.Runtime{Memory: 2 * gib}})
	third := begin(t, e, engine.Request{Project: "web", Runtime: ci.Runtime{Memory: gib}})
	c.forward(2 * time.Second)
	other := begin(t, e, engine.Request{Project: "free"})
	if a := claim(t, e); a.Build.ID != other { // which the second could not have taken
		t.Fatalf("%s began", a.Run.ID)
	}
	c.forward(3 * time.Second)
	finish(t, e, first)
	for _, id := range []ci.BuildID{second, third} {
		if a := claim(t, e); a.Build.ID != id {
			t.Fatalf("%s began, want one of %s", a.Run.ID, id)
		}
	}
	at := time.Unix(1_800_000_000, 0)
	for id, want := range map[ci.BuildID]ci.Wait{
		second: {For: "memory", Detail: "7.0 GiB of 8.0 GiB in use by big #7", Since: at, Seconds: 5},
		third:  {For: "order", Detail: "older jobs of web are before it", Since: at, Seconds: 5},
	} {
		d := why(t, e, id, ci.EventJobStarted, "a")
		if len(d.Waits) != 1 || d.Waits[0].For != want.For || d.Waits[0].Detail != want.Detail || !d.Waits[0].Since.Equal(at) || d.Waits[0].Seconds != want.Seconds {
			t.Errorf("got waits %+v, want %+v", d.Waits, want)
		}
	}
	wantConditions(t, why(t, e, second, ci.EventJobStarted, "a").Conditions,
		ci.Condition{What: "2.0 GiB of memory are free", Got: "2.0 GiB of 8.0 GiB in use with it", Met: true})
	wantConditions(t, why(t, e, first.Build.ID, ci.EventBuildStarted, "").Conditions,
		ci.Condition{What: "source ", Got: "c0ffee", Met: true}, ci.Condition{What: "definition, the first of plan.lines", Got: "plan.lines", Met: true},
		ci.Condition{What: "it compiles", Got: "1 job", Met: true})
}

func TestATurnIsWaitedFor(t *testing.T) {
	t.Parallel()
	var c clock
	e := server(t, engine.Config{Now: c.now})
	one := engine.Request{Project: "web", Limits: ci.Limits{Builds: 1}}
	begin(t, e, one)
	a := claim(t, e)
	next := begin(t, e, one)
	c.forward(time.Minute)
	finish(t, e, a)
	if a := claim(t, e); a.Build.ID != next {
		t.Fatalf("%s began", a.Run.ID)
	}
	d := why(t, e, next, ci.EventJobStarted, "a")
	if len(d.Waits) != 1 || d.Waits[0].For != "turn" || d.Waits[0].Detail != "web runs at most 1 build at once" || d.Waits[0].Seconds != 60 {
		t.Errorf("got %+v", d.Waits)
	}
	wantConditions(t, d.Conditions, ci.Condition{What: "at most 1 build of the project at once", Got: "1 with this one", Met: true})
}

func TestWhyAJobNeverBegan(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{Fetcher: text("a:\nm: !\nb: a m\nc: b")})
	id := begin(t, e, engine.Request{})
	a, m := claim(t, e), claim(t, e)
	for _, done := range []*ci.Assignment{m, a} {
		run := done.Run
		run.Status, run.Reason = ci.Failed, "it said no"
		if err := e.JobFinished(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	wantConditions(t, why(t, e, id, ci.EventJobFinished, "b").Conditions[:2],
		ci.Condition{What: "job a ended well", Got: "failed"}, ci.Condition{What: "job m ended well", Got: "failed, which it may", Met: true})
	wantConditions(t, why(t, e, id, ci.EventJobFinished, "c").Conditions[:1], ci.Condition{What: "job b ended well", Got: "skipped"})
}

func TestWhyABuildWasStoppedOrRefused(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{})
	id := begin(t, e, engine.Request{})
	a := claim(t, e)
	if err := e.Cancel(ci.WithUser(t.Context(), ci.User{Name: "ada"}), id, ci.ErrCanceled); err != nil {
		t.Fatal(err)
	}
	d := why(t, e, id, ci.EventCancel, "")
	if d.By != "ada" {
		t.Errorf("got %+v, want it by ada", d)
	}
	finish(t, e, a)
	bad := server(t, engine.Config{Fetcher: text("no colon")})
	id = begin(t, bad, engine.Request{})
	if err := bad.Follow(t.Context(), id, 1, func(ci.Event) bool { return true }); err != nil {
		t.Fatal(err)
	}
	got := why(t, bad, id, ci.EventBuildFinished, "").Conditions
	if last := got[len(got)-1]; last != (ci.Condition{What: "it compiles", Got: "1 problem"}) {
		t.Errorf("got %+v", got)
	}
	if _, err := bad.History(t.Context(), "nobody"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	late := server(t, engine.Config{})
	id = begin(t, late, engine.Request{Limits: ci.Limits{Queue: time.Millisecond}})
	if err := late.Follow(t.Context(), id, 1, func(ci.Event) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if got := why(t, late, id, ci.EventCancel, "").Conditions; len(got) != 1 || got[0].Met || !strings.HasPrefix(got[0].What, "began within 1ms") {
		t.Errorf("got %+v", got)
	}
}
