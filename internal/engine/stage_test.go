package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/store"
)

// watchedStore notes what is stored, and refuses when it is told to.
type watchedStore struct {
	engine.Store
	mu     sync.Mutex
	writes [][]ci.EventType
	refuse error
}

func (s *watchedStore) Append(ctx context.Context, events ...ci.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	var types []ci.EventType
	for _, e := range events {
		types = append(types, e.Type)
	}
	s.writes = append(s.writes, types)
	return s.Store.Append(ctx, events...)
}

func (s *watchedStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// taken are the transitions since the last call.
func (s *watchedStore) taken() [][]ci.EventType {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writes
	s.writes = nil
	return w
}

// delayed starts a build of one job with an engine that keeps steps back, and
// claims the job.
func delayed(t *testing.T, delay time.Duration) (*engine.Engine, *watchedStore, *ci.Assignment) {
	t.Helper()
	journal, err := store.OpenJournal(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	s := &watchedStore{Store: journal}
	e := engine.New(engine.Config{Store: s, Fronts: []ci.FrontEnd{lines{}}, Fetcher: text("a:"), Delay: delay})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	begin(t, e, engine.Request{})
	a, err := e.Claim(t.Context(), ci.RunnerInfo{})
	if err != nil {
		t.Fatal(err)
	}
	s.taken()
	return e, s, a
}

func tell(t *testing.T, e *engine.Engine, a *ci.Assignment, kind ci.StepKind, name string, s ci.Status) {
	t.Helper()
	step := ci.StepRun{ID: a.Run.ID.Step(name), Kind: kind, Phase: ci.PhaseBuild, Status: s}
	told := e.StepFinished
	if s == ci.Running {
		told = e.StepStarted
	}
	if err := told(t.Context(), step); err != nil {
		t.Fatal(err)
	}
}

func wantWrites(t *testing.T, what string, s *watchedStore, want ...int) {
	t.Helper()
	var got []int
	for _, w := range s.taken() {
		got = append(got, len(w))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: stored transitions of %v events, want %v", what, got, want)
	}
}

func TestStepsAreStoredWithTheNextTransition(t *testing.T) {
	t.Parallel()
	e, s, a := delayed(t, time.Hour)
	tell(t, e, a, ci.KindPhase, "BUILD", ci.Running)
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Running)
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Running) // told twice
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Succeeded)
	wantWrites(t, "steps", s)
	finish(t, e, a)
	wantWrites(t, "the end", s, 5) // with the job's end and the build's
}

// A restart that did not know of a finished action would do it again; what a
// command did since must not be undone by that.
func TestACommandStartsOnlyWhenWhatItBuildsOnIsStored(t *testing.T) {
	t.Parallel()
	e, s, a := delayed(t, time.Hour)
	tell(t, e, a, ci.KindAction, "DOWNLOAD_SOURCE/source", ci.Running)
	tell(t, e, a, ci.KindAction, "DOWNLOAD_SOURCE/source", ci.Succeeded)
	wantWrites(t, "an action", s)
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Running)
	wantWrites(t, "a command after an action", s, 3)
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Succeeded)
	tell(t, e, a, ci.KindCommand, "BUILD/1", ci.Running)
	wantWrites(t, "a command after a command", s)
}

func TestWhoLooksSeesOnlyWhatIsStored(t *testing.T) {
	t.Parallel()
	e, s, a := delayed(t, time.Hour)
	id := a.Run.ID.Build()
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Running)
	s.fail(fmt.Errorf("no room: %w", ci.ErrUnavailable))
	b, err := e.Build(t.Context(), id)
	if err != nil || len(b.Job(a.Run.ID).Steps) != 0 {
		t.Errorf("while nothing can be stored: got the steps %+v, %v, want none", b.Job(a.Run.ID).Steps, err)
	}
	s.fail(nil)
	if b, err = e.Build(t.Context(), id); err != nil || len(b.Job(a.Run.ID).Steps) != 1 {
		t.Errorf("got the steps %+v, %v, want the one that began", b.Job(a.Run.ID).Steps, err)
	}
	wantWrites(t, "looking", s, 1)
}

// Followers see steps after the delay, though nothing else happens, and though
// the first attempt to store them fails.
func TestStepsAreStoredAfterAWhile(t *testing.T) {
	t.Parallel()
	e, s, a := delayed(t, time.Millisecond)
	s.fail(fmt.Errorf("no room: %w", ci.ErrUnavailable))
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Running)
	seen := make(chan ci.EventType)
	go func() {
		_ = e.Follow(t.Context(), a.Run.ID.Build(), 1, func(ev ci.Event) bool {
			seen <- ev.Type
			return ev.Type != ci.EventStepStarted
		})
		close(seen)
	}()
	for _, want := range []ci.EventType{ci.EventBuildQueued, ci.EventBuildStarted, ci.EventJobQueued, ci.EventJobStarted} {
		if got := <-seen; got != want {
			t.Fatalf("followed %s, want %s", got, want)
		}
	}
	s.fail(nil)
	if got := <-seen; got != ci.EventStepStarted {
		t.Errorf("followed %s, want the step", got)
	}
}

// What the store refuses for good, because another process took the build on, is
// forgotten: the build is as it is stored.
func TestWhatIsRefusedDoesNotCount(t *testing.T) {
	t.Parallel()
	e, s, a := delayed(t, time.Hour)
	tell(t, e, a, ci.KindCommand, "BUILD/0", ci.Running)
	s.fail(fmt.Errorf("somebody else has it: %w", ci.ErrConflict))
	run := a.Run
	run.Status = ci.Succeeded
	if err := e.JobFinished(t.Context(), run); !errors.Is(err, ci.ErrConflict) {
		t.Fatalf("got %v, want ErrConflict", err)
	}
	s.fail(nil)
	b, err := e.Build(t.Context(), a.Run.ID.Build())
	if err != nil {
		t.Fatal(err)
	}
	if j := b.Job(a.Run.ID); b.Status != ci.Running || j.Status != ci.Running || len(j.Steps) != 0 {
		t.Errorf("got a build that is %s, with a job that is %s and has the steps %+v", b.Status, j.Status, j.Steps)
	}
	wantWrites(t, "looking", s)
}
