package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/store"
)

const gib = 1 << 30

// server is an engine as a server has it; its Run ends with the test.
func server(t *testing.T, c engine.Config) *engine.Engine {
	t.Helper()
	s, err := store.OpenJournal(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c.Store, c.Fronts = s, []ci.FrontEnd{lines{}}
	if c.Fetcher == nil {
		c.Fetcher = text("a:")
	}
	e := engine.New(c)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

func begin(t *testing.T, e *engine.Engine, r engine.Request) ci.BuildID {
	t.Helper()
	if r.Project == "" {
		r.Project = "p"
	}
	id, err := e.Start(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func finish(t *testing.T, e *engine.Engine, a *ci.Assignment) {
	t.Helper()
	run := a.Run
	run.Status = ci.Succeeded
	if err := e.JobFinished(t.Context(), run); err != nil {
		t.Fatal(err)
	}
}

func TestProjectsTakeTurns(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{})
	for range 3 {
		begin(t, e, engine.Request{Project: "busy"})
	}
	begin(t, e, engine.Request{Project: "small"})
	var order []string
	for range 4 {
		order = append(order, claim(t, e).Build.Project)
	}
	if got := strings.Join(order, " "); got != "busy small busy busy" {
		t.Errorf("got %s", got)
	}
}

func TestAJobWaitsForRoomAndSaysSo(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{Capacity: engine.Demand{CPUs: 4, Memory: 8 * gib}})
	begin(t, e, engine.Request{Project: "big", Number: 7, Runtime: ci.Runtime{CPUs: 2, Memory: 7 * gib}})
	memory := begin(t, e, engine.Request{Runtime: ci.Runtime{Memory: 2 * gib}})
	cpus := begin(t, e, engine.Request{Project: "q", Runtime: ci.Runtime{CPUs: 3}})
	free := begin(t, e, engine.Request{Project: "r"})

	first := claim(t, e)
	if first.Build.Number != 7 {
		t.Fatalf("%s began first", first.Run.ID)
	}
	if got := e.Waits(first.Build.ID); got != "" {
		t.Errorf("of a build that runs: %q", got)
	}
	if a := claim(t, e); a.Build.ID != free {
		t.Errorf("%s began, want the job that takes nothing", a.Run.ID)
	}
	for id, want := range map[ci.BuildID]string{
		memory: "waiting for memory: 7.0 GiB of 8.0 GiB in use by big #7 (place 1)",
		cpus:   "waiting for processors: 2 of 4 in use by big #7 (place 2)",
	} {
		if got := e.Waits(id); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	finish(t, e, first)
	for range 2 {
		finish(t, e, claim(t, e))
	}
}

func TestAJobBiggerThanTheMachineHasItAlone(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{Capacity: engine.Demand{Memory: gib}})
	begin(t, e, engine.Request{Runtime: ci.Runtime{Memory: 100 * gib}})
	finish(t, e, claim(t, e))
}

// Small jobs that keep coming must not keep a big one from ever beginning.
func TestABigJobIsNotStarved(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{Capacity: engine.Demand{Memory: 4 * gib}})
	small := engine.Request{Project: "small", Runtime: ci.Runtime{Memory: gib}}
	begin(t, e, small)
	running := claim(t, e)
	big := begin(t, e, engine.Request{Project: "big", Runtime: ci.Runtime{Memory: 4 * gib}})
	for range 100 {
		next := begin(t, e, small)
		if got := e.Waits(next); got == "waiting for a bigger job that is before it (place 2)" {
			finish(t, e, running)
			if a := claim(t, e); a.Build.ID != big {
				t.Errorf("%s began, want the big one", a.Run.ID)
			}
			return
		}
		a := claim(t, e) // beside the one that runs, so that there is never room for four
		finish(t, e, running)
		running = a
	}
	t.Error("100 small jobs began, and the big one that is older did not")
}

func TestAProjectsBuildsAtOnce(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{Fetcher: text("a:\nb: a")})
	r := engine.Request{Limits: ci.Limits{Builds: 1}}
	first, second := begin(t, e, r), begin(t, e, r)
	a := claim(t, e)
	if got, want := e.Waits(second), "waiting for its turn: p runs at most 1 build at once (place 1)"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	finish(t, e, a)
	b := claim(t, e) // the first one's other job, not the second build
	if b.Build.ID != first {
		t.Fatalf("%s began", b.Run.ID)
	}
	finish(t, e, b)
	if a := claim(t, e); a.Build.ID != second {
		t.Errorf("%s began", a.Run.ID)
	}
}

func TestAKeyStartsOneBuild(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{})
	r := engine.Request{ID: "one", Project: "p", Key: "push-1"}
	b, made, err := e.Enqueue(t.Context(), r)
	if err != nil || !made {
		t.Fatalf("got %v, %v", made, err)
	}
	again, made, err := e.Enqueue(t.Context(), r)
	if err != nil || made || again.ID != b.ID {
		t.Errorf("got %s, %v, %v; want %s, false", again.ID, made, err, b.ID)
	}
}

// slow is a source that answers when it is told to.
type slow struct {
	text
	asked   chan struct{}
	release chan struct{}
}

func (s slow) Resolve(ctx context.Context, _ ci.Source) (ci.Commit, error) {
	s.asked <- struct{}{}
	select {
	case <-s.release:
		return ci.Commit{Hash: "c0ffee"}, nil
	case <-ctx.Done():
		return ci.Commit{}, ctx.Err()
	}
}

func TestABuildCanBeCanceledWhileItsSourceIsRead(t *testing.T) {
	t.Parallel()
	source := slow{text: "a:", asked: make(chan struct{}), release: make(chan struct{})}
	e := server(t, engine.Config{Compilers: 1, Fetcher: source})
	id := begin(t, e, engine.Request{})
	<-source.asked
	if got := e.Waits(id); got != "waiting for its source and definition to be read" {
		t.Errorf("got %q", got)
	}
	if err := e.Cancel(t.Context(), id, ci.ErrCanceled); err != nil {
		t.Fatal(err)
	}
	if b, err := e.Build(t.Context(), id); err != nil || b.Status != ci.Canceled {
		t.Errorf("got %s, %v; want canceled", b.Status, err)
	}
	// The only compiler is free again: it did not wait for the source.
	begin(t, e, engine.Request{})
	<-source.asked
	close(source.release)
	finish(t, e, claim(t, e))
	if err := e.Cancel(t.Context(), id, ci.ErrCanceled); err != nil {
		t.Errorf("canceled again: %v", err)
	}
	if err := e.Cancel(t.Context(), "nobody", ci.ErrCanceled); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("an unknown build: got %v, want ErrNotFound", err)
	}
}

func TestTheQueueTimeoutEndsWhatNeverBegan(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	e := server(t, engine.Config{Compilers: 2, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	limits := ci.Limits{Builds: 1, Queue: time.Hour}
	begin(t, e, engine.Request{Limits: limits})
	begun := claim(t, e)
	waiting := begin(t, e, engine.Request{Limits: limits})
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	begin(t, e, engine.Request{Project: "other", Limits: limits}) // makes Run look at the clock
	if err := e.Follow(t.Context(), waiting, 1, func(ci.Event) bool { return true }); err != nil {
		t.Fatal(err)
	}
	b, err := e.Build(t.Context(), waiting)
	if err != nil || b.Status != ci.TimedOut || !strings.Contains(b.Reason, "queue timeout") {
		t.Errorf("got %s (%s), %v; want timed_out", b.Status, b.Reason, err)
	}
	if b, err := e.Build(t.Context(), begun.Build.ID); err != nil || b.Status != ci.Running || b.Cancel != "" {
		t.Errorf("the one that began: got %s (%s), %v; want running", b.Status, b.Cancel, err)
	}
	finish(t, e, begun)
}

// Whatever comes in whatever order: no more is handed out than the machine has
// and than projects may, and everything ends.
func TestAdmission(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		capacity := engine.Demand{CPUs: float64(rapid.IntRange(0, 4).Draw(rt, "cpus")), Memory: int64(rapid.IntRange(0, 4).Draw(rt, "memory"))}
		limits := []int{rapid.IntRange(0, 2).Draw(rt, "limit 0"), rapid.IntRange(0, 2).Draw(rt, "limit 1"), 0}
		requests := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) engine.Request {
			p := rapid.IntRange(0, 2).Draw(rt, "project")
			return engine.Request{
				Project: fmt.Sprint("p", p), Limits: ci.Limits{Builds: limits[p], Jobs: rapid.IntRange(0, 2).Draw(rt, "jobs")},
				Runtime: ci.Runtime{CPUs: float64(rapid.IntRange(0, 5).Draw(rt, "cpus")), Memory: int64(rapid.IntRange(0, 5).Draw(rt, "memory"))},
			}
		}), 1, 12).Draw(rt, "requests")
		canceled := rapid.IntRange(0, len(requests)).Draw(rt, "canceled") // the one after the last is none
		admit(rt, capacity, requests, canceled, rapid.IntRange(1, 5).Draw(rt, "runners"))
	})
}

func admit(t *rapid.T, capacity engine.Demand, requests []engine.Request, canceled, runners int) {
	dir, err := os.MkdirTemp("", "admission-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := store.OpenJournal(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	e := engine.New(engine.Config{Store: s, Fronts: []ci.FrontEnd{lines{}}, Fetcher: text("a:\nb:\nc: a b"), Capacity: capacity})
	ctx, stop := context.WithCancel(context.Background())
	held := &ledger{capacity: capacity, builds: map[string]map[ci.BuildID]int{}}
	var working sync.WaitGroup
	for range runners {
		working.Go(func() {
			for {
				a, err := e.Claim(ctx, ci.RunnerInfo{})
				if err != nil {
					return
				}
				held.take(a)
				held.give(a)
				run := a.Run
				run.Status = ci.Succeeded
				if err := e.JobFinished(ctx, run); err != nil {
					held.complain("finish %s: %v", run.ID, err)
				}
			}
		})
	}
	var ids []ci.BuildID
	for i, r := range requests {
		id, err := e.Start(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		if i == canceled {
			if err := e.Cancel(ctx, id, ci.ErrCanceled); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range ids {
		if err := e.Follow(ctx, id, 1, func(ci.Event) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	working.Wait()
	if len(held.complaints) > 0 {
		t.Fatal(strings.Join(slices.Compact(held.complaints), "\n"))
	}
}

// ledger is what the runners of a test hold.
type ledger struct {
	mu         sync.Mutex
	capacity   engine.Demand
	used       engine.Demand
	builds     map[string]map[ci.BuildID]int
	complaints []string
}

func (l *ledger) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.complaints = append(l.complaints, fmt.Sprintf(format, args...))
}

// share is what the job counts for: no more than the machine has.
func (l *ledger) share(a *ci.Assignment) engine.Demand {
	d := engine.Demand{CPUs: a.Runtime.CPUs, Memory: a.Runtime.Memory}
	if l.capacity.CPUs > 0 {
		d.CPUs = min(d.CPUs, l.capacity.CPUs)
	}
	if l.capacity.Memory > 0 {
		d.Memory = min(d.Memory, l.capacity.Memory)
	}
	return d
}

func (l *ledger) take(a *ci.Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.share(a)
	l.used.CPUs += d.CPUs
	l.used.Memory += d.Memory
	mine := l.builds[a.Build.Project]
	if mine == nil {
		mine = map[ci.BuildID]int{}
		l.builds[a.Build.Project] = mine
	}
	mine[a.Build.ID]++
	if limit := a.Build.Limits.Jobs; limit > 0 && mine[a.Build.ID] > limit {
		l.complaints = append(l.complaints, fmt.Sprintf("%d jobs of a build at once, it may have %d", mine[a.Build.ID], limit))
	}
	if limit := a.Build.Limits.Builds; limit > 0 && len(mine) > limit {
		l.complaints = append(l.complaints, fmt.Sprintf("%d builds of %s at once, it may have %d", len(mine), a.Build.Project, limit))
	}
	if (l.capacity.CPUs > 0 && l.used.CPUs > l.capacity.CPUs) || (l.capacity.Memory > 0 && l.used.Memory > l.capacity.Memory) {
		l.complaints = append(l.complaints, fmt.Sprintf("%v in use of %v", l.used, l.capacity))
	}
}

func (l *ledger) give(a *ci.Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.share(a)
	l.used.CPUs -= d.CPUs
	l.used.Memory -= d.Memory
	mine := l.builds[a.Build.Project]
	if mine[a.Build.ID]--; mine[a.Build.ID] == 0 {
		delete(mine, a.Build.ID)
	}
}

func TestAnInlineDefinitionIsNotLookedForInTheSource(t *testing.T) {
	t.Parallel()
	e := server(t, engine.Config{Fetcher: text("")})
	id := begin(t, e, engine.Request{Inline: "inline:"})
	if a := claim(t, e); a.Build.ID != id || a.Job.Name != "inline" {
		t.Errorf("got job %q of %s", a.Job.Name, a.Build.ID)
	}
}

// mighty is a front end whose jobs want privileges.
type mighty struct{ lines }

func (m mighty) Compile(d ci.Definition) (*ci.Plan, error) {
	p, err := m.lines.Compile(d)
	if err == nil {
		p.Jobs[0].Runtime.Privileged = true
	}
	return p, err
}

func TestADefinitionDoesNotGrantPrivileges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		guard, allowed bool
		want           ci.Status
	}{{true, false, ci.Failed}, {true, true, ci.Running}, {false, false, ci.Running}} {
		s, err := store.OpenJournal(t.TempDir(), false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		e := engine.New(engine.Config{Store: s, Fronts: []ci.FrontEnd{mighty{}}, Fetcher: text("a:"), Guard: c.guard})
		id := begin(t, e, engine.Request{Runtime: ci.Runtime{Privileged: c.allowed}})
		b, err := e.Build(t.Context(), id)
		if err != nil || b.Status != c.want {
			t.Errorf("guard %v, allowed %v: got %s, %v; want %s", c.guard, c.allowed, b.Status, err, c.want)
		}
		if c.want == ci.Failed && (len(b.Problems) != 1 || !strings.Contains(b.Problems[0].Message, "administrator")) {
			t.Errorf("got the problems %v", b.Problems)
		}
	}
}
