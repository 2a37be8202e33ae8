package engine_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/store"
)

// shared is a store that the engines of a test have in common.
func shared(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.OpenDB(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "sluice.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// impatient is a node that takes others for gone soon. Those beat so seldom that
// they count as gone whatever they do.
var impatient = engine.Config{Node: engine.Node{Lease: time.Second}}

// node is one of several engines over a store. The answer's second part ends it
// as kill -9 does: it says nothing more.
func node(t *testing.T, db *store.DB, name string, c engine.Config) (*engine.Engine, func()) {
	t.Helper()
	c.Store, c.Shared, c.Fronts = db, db, []ci.FrontEnd{lines{}}
	if c.Fetcher == nil {
		c.Fetcher = text("a:")
	}
	c.Node.Name, c.Node.URL = name, func() string { return "http://" + name }
	if c.Node.Lease == 0 {
		c.Node.Lease = time.Hour
	}
	e := engine.New(c)
	if err := e.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	ended := false
	kill := func() {
		if ended {
			return
		}
		ended = true
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(kill)
	return e, kill
}

// ended follows a build to its end, through any engine.
func ended(t *testing.T, e *engine.Engine, id ci.BuildID) ci.Build {
	t.Helper()
	var b ci.Build
	if err := e.Follow(t.Context(), id, 1, func(ev ci.Event) bool {
		if err := b.Apply(ev); err != nil {
			t.Errorf("event %d: %v", ev.Seq, err)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// A build that waits goes to the engine that has room, and whoever asked for it
// elsewhere sees it end.
func TestAnEngineWithRoomTakesWhatWaitsElsewhere(t *testing.T) {
	t.Parallel()
	db := shared(t)
	full, _ := node(t, db, "full", engine.Config{})
	free, _ := node(t, db, "free", engine.Config{})
	id := begin(t, full, engine.Request{}) // nobody claims there
	a := claim(t, free)
	if a.Run.ID.Build() != id {
		t.Fatalf("claimed %s, want a job of %s", a.Run.ID, id)
	}
	finish(t, free, a)
	if b := ended(t, full, id); b.Status != ci.Succeeded || b.Node != "free" {
		t.Errorf("seen from where it was started: got %s, in the hands of %s", b.Status, b.Node)
	}
	if full.Has(id) {
		t.Error("who lost the build has it still")
	}
}

// What a killed engine had is taken over: what waited runs, and what ran is
// handed out again as begun, so that its runner finds out what became of it.
func TestTheBuildsOfAKilledEngineAreTakenOver(t *testing.T) {
	t.Parallel()
	db := shared(t)
	first, kill := node(t, db, "first", engine.Config{})
	running := begin(t, first, engine.Request{})
	claim(t, first)
	kill()
	second, _ := node(t, db, "second", impatient)
	again := claim(t, second)
	if again.Run.ID.Build() != running || !again.Began {
		t.Fatalf("handed out %s, begun %v, want the job that ran", again.Run.ID, again.Began)
	}
	finish(t, second, again)
	if b := ended(t, second, running); b.Status != ci.Succeeded || b.Node != "second" {
		t.Errorf("got %s, in the hands of %s", b.Status, b.Node)
	}
}

// An engine that was only silent, and finds its build taken, can say nothing more
// of it: no step is recorded twice, and its runner leaves the job alone.
func TestAnEngineThatWasSilentHasLostItsBuilds(t *testing.T) {
	t.Parallel()
	db := shared(t)
	silent, _ := node(t, db, "silent", engine.Config{})
	id := begin(t, silent, engine.Request{})
	a := claim(t, silent)
	other, _ := node(t, db, "other", impatient)
	again := claim(t, other)

	told := make(chan error, 1)
	go func() {
		_, err := silent.Renew(t.Context(), a.Run.ID)
		told <- err
	}()
	if err := silent.StepStarted(t.Context(), ci.StepRun{ID: a.Run.ID.Step("BUILD/0"), Kind: ci.KindCommand, Phase: ci.PhaseBuild}); !errors.Is(err, ci.ErrConflict) && !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("a step of a build that is lost: got %v", err)
	}
	if err := <-told; !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("renew of a job that is lost: got %v, want ErrNotFound", err)
	}
	finish(t, other, again)
	if b := ended(t, silent, id); b.Status != ci.Succeeded || len(b.Jobs[0].Steps) != 0 {
		t.Errorf("got %s with the steps %+v", b.Status, b.Jobs[0].Steps)
	}
}

func TestABuildIsStoppedThroughAnyEngine(t *testing.T) {
	t.Parallel()
	db := shared(t)
	has, _ := node(t, db, "has", engine.Config{})
	other, _ := node(t, db, "other", engine.Config{})
	id := begin(t, has, engine.Request{})
	a := claim(t, has)
	cause := make(chan error, 1)
	go func() {
		c, err := has.Renew(t.Context(), a.Run.ID)
		cause <- errors.Join(c, err)
	}()
	if err := other.Cancel(t.Context(), id, ci.ErrCanceled); err != nil {
		t.Fatal(err)
	}
	if err := <-cause; !errors.Is(err, ci.ErrCanceled) {
		t.Fatalf("the runner was told %v", err)
	}
	run := a.Run
	run.Status, run.Reason = ci.Canceled, ci.ErrCanceled.Error()
	if err := has.JobFinished(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if b := ended(t, other, id); b.Status != ci.Canceled {
		t.Errorf("got %s", b.Status)
	}
}

// The limit of a project holds over all engines.
func TestTheLimitOfAProjectHoldsOverAllEngines(t *testing.T) {
	t.Parallel()
	db := shared(t)
	one, _ := node(t, db, "one", engine.Config{})
	two, _ := node(t, db, "two", engine.Config{})
	limited := engine.Request{Limits: ci.Limits{Builds: 1}}
	first := begin(t, one, limited)
	a := claim(t, one)
	second := begin(t, two, limited)
	next := make(chan *ci.Assignment, 1)
	go func() { next <- claim(t, one) }()
	b, err := two.Build(t.Context(), second)
	if err != nil || b.Node != "one" || two.Has(second) {
		t.Fatalf("the second build is in the hands of %q (%v), want one", b.Node, err)
	}
	select {
	case got := <-next:
		t.Fatalf("%s began beside %s", got.Run.ID, first)
	default:
	}
	finish(t, one, a)
	finish(t, one, <-next)
	if b := ended(t, two, second); b.Status != ci.Succeeded {
		t.Errorf("got %s", b.Status)
	}
}
