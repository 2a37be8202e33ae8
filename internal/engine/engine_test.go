package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/store"
)

// lines is a front end for these tests: a job a line, "name: needs… [!]", where
// "!" allows failure and a line "fail-fast" sets that.
type lines struct{}

func (lines) Name() string    { return "lines" }
func (lines) Files() []string { return []string{"plan.lines"} }

func (lines) Compile(d ci.Definition) (*ci.Plan, error) {
	p := &ci.Plan{Version: ci.PlanVersion, Format: "lines", File: d.Path}
	for i, line := range strings.Split(strings.TrimSpace(string(d.Text)), "\n") {
		if line == "fail-fast" {
			p.FailFast = true
			continue
		}
		name, needs, ok := strings.Cut(line, ":")
		if !ok {
			return nil, ci.Problems{{Pos: ci.Pos{File: d.Path, Line: i + 1}, Severity: ci.Error, Message: "no colon"}}
		}
		j := ci.Job{Name: name}
		for _, n := range strings.Fields(needs) {
			if n == "!" {
				j.AllowFailure = true
			} else {
				j.Needs = append(j.Needs, n)
			}
		}
		p.Jobs = append(p.Jobs, j)
	}
	return p, nil
}

// text is a source of one file.
type text string

func (text) Resolve(context.Context, ci.Source) (ci.Commit, error) {
	return ci.Commit{Hash: "c0ffee"}, nil
}

func (f text) ReadFile(_ context.Context, _ ci.Source, _ ci.Commit, path string) ([]byte, error) {
	if path != "plan.lines" {
		return nil, fmt.Errorf("%s: %w", path, ci.ErrNotFound)
	}
	return []byte(f), nil
}

func (text) Archive(context.Context, ci.Source, ci.Commit, io.Writer) error { return nil }

func start(t *testing.T, plan string, r engine.Request) (*engine.Engine, ci.BuildID) {
	t.Helper()
	s, err := store.OpenJournal(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	e := engine.New(engine.Config{Store: s, Fronts: []ci.FrontEnd{lines{}}, Fetcher: text(plan)})
	r.Project = "p"
	id, err := e.Start(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return e, id
}

// work claims jobs one at a time and ends each as the table says (succeeded if
// it says nothing) until the build is done; the answer is the order of claims.
func work(t *testing.T, e *engine.Engine, id ci.BuildID, ends map[string]ci.Status) []string {
	t.Helper()
	var order []string
	for {
		b, err := e.Build(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if b.Status.Done() {
			return order
		}
		a, err := e.Claim(t.Context(), ci.RunnerInfo{})
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, a.Job.Name)
		run := a.Run
		run.Status = ci.Succeeded
		if s, ok := ends[a.Job.Name]; ok {
			run.Status, run.Reason = s, "because"
		}
		if err := e.JobFinished(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatAFailureMeansForTheRest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan  string
		ends  map[string]ci.Status
		order string
		want  ci.Status
		jobs  string // final statuses, in plan order
	}{
		"one job":                     {plan: "a:", order: "a", want: ci.Succeeded, jobs: "succeeded"},
		"a chain":                     {plan: "c: b\nb: a\na:", order: "a b c", want: ci.Succeeded, jobs: "succeeded succeeded succeeded"},
		"a failure skips what needs":  {plan: "a:\nb: a\nc: b\nd:", ends: map[string]ci.Status{"a": ci.Failed}, order: "a d", want: ci.Failed, jobs: "failed skipped skipped succeeded"},
		"an allowed failure does not": {plan: "a: !\nb: a", ends: map[string]ci.Status{"a": ci.Failed}, order: "a b", want: ci.Succeeded, jobs: "failed succeeded"},
		"a fault is not a failure":    {plan: "a: !\nb: a", ends: map[string]ci.Status{"a": ci.Errored}, order: "a", want: ci.Errored, jobs: "errored skipped"},
		"fail-fast stops the others":  {plan: "fail-fast\na:\nb:\nc:", ends: map[string]ci.Status{"a": ci.Failed}, order: "a", want: ci.Failed, jobs: "failed canceled canceled"},
		"unstable goes on":            {plan: "a:\nb: a", ends: map[string]ci.Status{"a": ci.Unstable}, order: "a b", want: ci.Unstable, jobs: "unstable succeeded"},
		"a timeout outranks failure":  {plan: "a:\nb:", ends: map[string]ci.Status{"a": ci.Failed, "b": ci.TimedOut}, order: "a b", want: ci.TimedOut, jobs: "failed timed_out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, id := start(t, c.plan, engine.Request{})
			if order := strings.Join(work(t, e, id, c.ends), " "); order != c.order {
				t.Errorf("claimed %q, want %q", order, c.order)
			}
			b, err := e.Build(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			var jobs []string
			for _, j := range b.Jobs {
				jobs = append(jobs, string(j.Status))
			}
			if b.Status != c.want || strings.Join(jobs, " ") != c.jobs {
				t.Errorf("got %s (%s), jobs %v; want %s, jobs %s", b.Status, b.Reason, jobs, c.want, c.jobs)
			}
		})
	}
}

func TestADefinitionThatDoesNotCompileEndsTheBuildWithItsProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ plan, file, want string }{
		"problems":     {"a:\nb", "", "plan.lines:2: error: no colon"},
		"no such file": {"a:", "other.yml", "no such file or directory"},
	} {
		e, id := start(t, c.plan, engine.Request{File: c.file})
		b, err := e.Build(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if b.Status != ci.Failed || len(b.Problems) != 1 || !strings.Contains(b.Problems[0].String(), c.want) {
			t.Errorf("%s: got %s with %v, want failed with %q", name, b.Status, b.Problems, c.want)
		}
	}
}

func TestAPlanThatCannotRunIsAFault(t *testing.T) {
	t.Parallel()
	for plan, want := range map[string]string{
		"a: b":         `needs "b", which is not there`,
		"a: b\nb: a":   "in a circle",
		"a:\na:":       "two jobs",
		"a/b:":         "job name",
		"fail-fast":    "no jobs",
		"a: a":         "in a circle",
		"a: b c\nb: c": "which is not there",
	} {
		e, id := start(t, plan, engine.Request{})
		b, err := e.Build(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if b.Status != ci.Errored || !strings.Contains(b.Reason, want) {
			t.Errorf("%q: got %s, %q; want errored, %q", plan, b.Status, b.Reason, want)
		}
	}
}

func TestTheLimitOfJobsAtOnceHolds(t *testing.T) {
	t.Parallel()
	e, id := start(t, "a:\nb:\nc:", engine.Request{Limits: ci.Limits{Jobs: 2}})
	first := claim(t, e)
	claim(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	third := make(chan error, 1)
	go func() {
		_, err := e.Claim(ctx, ci.RunnerInfo{})
		third <- err
	}()
	if b, _ := e.Build(t.Context(), id); b.Jobs[2].Status != ci.Queued {
		t.Errorf("the third job is %s, want queued", b.Jobs[2].Status)
	}
	first.Run.Status = ci.Succeeded
	if err := e.JobFinished(t.Context(), first.Run); err != nil {
		t.Fatal(err)
	}
	if err := <-third; err != nil {
		t.Errorf("the third claim: %v", err)
	}
	cancel()
}

func claim(t *testing.T, e *engine.Engine) *ci.Assignment {
	t.Helper()
	a, err := e.Claim(t.Context(), ci.RunnerInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCancelReachesTheRunningJobAndEndsTheWaitingOnes(t *testing.T) {
	t.Parallel()
	e, id := start(t, "a:\nb: a", engine.Request{})
	a := claim(t, e)
	told := make(chan error, 1)
	go func() {
		cause, err := e.Renew(t.Context(), a.Run.ID)
		told <- errors.Join(cause, err)
	}()
	if err := e.Cancel(t.Context(), id, ci.ErrCanceled); err != nil {
		t.Fatal(err)
	}
	if cause := <-told; !errors.Is(cause, ci.ErrCanceled) {
		t.Errorf("the runner was told %v", cause)
	}
	a.Run.Status, a.Run.Reason = ci.Canceled, "canceled"
	if err := e.JobFinished(t.Context(), a.Run); err != nil {
		t.Fatal(err)
	}
	b, _ := e.Build(t.Context(), id)
	if b.Status != ci.Canceled || b.Jobs[1].Status != ci.Canceled {
		t.Errorf("got build %s, second job %s; want both canceled", b.Status, b.Jobs[1].Status)
	}
	if err := e.Cancel(t.Context(), id, ci.ErrCanceled); err != nil {
		t.Errorf("canceling a build that is done: %v", err)
	}
}

func TestFailFastReachesTheRunningJobs(t *testing.T) {
	t.Parallel()
	e, id := start(t, "fail-fast\na:\nb:", engine.Request{})
	a, b := claim(t, e), claim(t, e)
	a.Run.Status, a.Run.Reason = ci.Failed, "no"
	if err := e.JobFinished(t.Context(), a.Run); err != nil {
		t.Fatal(err)
	}
	if cause, err := e.Renew(t.Context(), b.Run.ID); !errors.Is(cause, ci.ErrFailFast) || err != nil {
		t.Fatalf("the other runner was told %v, %v", cause, err)
	}
	b.Run.Status = ci.Canceled
	if err := e.JobFinished(t.Context(), b.Run); err != nil {
		t.Fatal(err)
	}
	if got, _ := e.Build(t.Context(), id); got.Status != ci.Failed || got.Reason != "job a: no" {
		t.Errorf("got %s, %q; want failed by a", got.Status, got.Reason)
	}
}

func TestFollowTellsEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	e, id := start(t, "a:\nb: a", engine.Request{})
	got := make(chan []ci.EventType, 1)
	go func() {
		var types []ci.EventType
		_ = e.Follow(t.Context(), id, 1, func(ev ci.Event) bool {
			if ev.Seq != int64(len(types))+1 {
				t.Errorf("event %d has number %d", len(types)+1, ev.Seq)
			}
			types = append(types, ev.Type)
			return true
		})
		got <- types
	}()
	work(t, e, id, nil)
	want := []ci.EventType{
		ci.EventBuildQueued, ci.EventBuildStarted, ci.EventJobQueued, ci.EventJobQueued,
		ci.EventJobStarted, ci.EventJobFinished, ci.EventJobStarted, ci.EventJobFinished, ci.EventBuildFinished,
	}
	if types := <-got; !slices.Equal(types, want) {
		t.Errorf("got  %v\nwant %v", types, want)
	}
}

func TestStartTwiceWithOneIDStartsOneBuild(t *testing.T) {
	t.Parallel()
	e, id := start(t, "a:", engine.Request{ID: "fixed"})
	again, err := e.Start(t.Context(), engine.Request{ID: "fixed", Project: "p"})
	if err != nil || again != id {
		t.Errorf("got %s, %v; want %s", again, err, id)
	}
}

func TestTheJobsRuntimeIsFilledFromTheBuilds(t *testing.T) {
	t.Parallel()
	e, _ := start(t, "a:", engine.Request{Runtime: ci.Runtime{Image: "img", CPUs: 2, Privileged: true}})
	if r := claim(t, e).Runtime; r.Image != "img" || r.CPUs != 2 || !r.Privileged {
		t.Errorf("got %+v", r)
	}
}
