// Package storetest says what every store of builds must do: one suite, run on
// the journal, on SQLite and on PostgreSQL.
//
// It does not look into a store: what a database can do besides is tested there.
//
// Invariant: a store that passes may be given to the engine.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Store is what the engine needs of one.
type Store interface {
	Create(ctx context.Context, b ci.Build, key string) (got ci.Build, made bool, err error)
	Append(ctx context.Context, events ...ci.Event) error
	Open(ctx context.Context) ([]ci.Build, error)
	Load(ctx context.Context, id ci.BuildID) (ci.Build, []ci.Event, error)
}

// Queued, Started and Finished are the events of a build without jobs.
func Queued(id ci.BuildID) ci.Event {
	return ci.NewEvent(ci.EventBuildQueued, ci.Build{ID: id, Project: "p", Status: ci.Queued})
}

// Started is a build's second event.
func Started(id ci.BuildID) ci.Event {
	return ci.NewEvent(ci.EventBuildStarted, ci.Build{ID: id, Project: "p", Status: ci.Running})
}

// Finished is its last.
func Finished(id ci.BuildID, s ci.Status) ci.Event {
	return ci.NewEvent(ci.EventBuildFinished, ci.Build{ID: id, Project: "p", Status: s})
}

// Run runs the suite. open gives an empty store, closed when its test ends.
func Run(t *testing.T, open func(t *testing.T) Store) {
	tests := map[string]func(*testing.T, Store){
		"Lifecycle":        lifecycle,
		"RefusedWhole":     refusedWhole,
		"Numbers":          numbers,
		"Mixed":            mixed,
		"Unknown":          unknown,
		"OpenOldestFirst":  openOldestFirst,
		"CreateOnce":       createOnce,
		"CreateRefuses":    createRefuses,
		"TwoWriters":       twoWriters,
		"ManyBuildsAtOnce": manyBuildsAtOnce,
		"Properties":       properties,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one that is %q", err, kind)
	}
}

func wantStored(t *testing.T, s Store, id ci.BuildID, status ci.Status, events int) ci.Build {
	t.Helper()
	b, got, err := s.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if b.Status != status || len(got) != events {
		t.Fatalf("build %s is %s with %d events, want %s with %d", id, b.Status, len(got), status, events)
	}
	for i, e := range got {
		if e.Seq != int64(i+1) || e.Build != id {
			t.Fatalf("event %d of build %s has number %d and build %s", i+1, id, e.Seq, e.Build)
		}
	}
	return b
}

// lifecycle: what comes back is what was stored, to the byte and the nanosecond.
func lifecycle(t *testing.T, s Store) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	awkward := "a\x00b\u2028ü'\"\\ \x1b[31m"
	job, step := ci.JobID("b/build"), ci.StepID("b/build/BUILD/0")
	plan := &ci.Plan{Version: 1, File: "buildspec.yml", Jobs: []ci.Job{{Name: "build"}}}
	rec := ci.Build{ID: "b", Project: "p", Status: ci.Running, Reason: awkward, Initiator: awkward, Plan: plan, Queued: at,
		Commit: ci.Commit{Hash: "0123", Ref: awkward}}
	events := []ci.Event{
		ci.NewEvent(ci.EventBuildQueued, ci.Build{ID: "b", Project: "p", Status: ci.Queued, Queued: at}),
		ci.NewEvent(ci.EventBuildStarted, rec),
		ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: job, Name: "build", Status: ci.Queued}),
		ci.NewEvent(ci.EventJobStarted, ci.JobRun{ID: job, Name: "build", Status: ci.Running}),
		ci.NewEvent(ci.EventStepStarted, ci.StepRun{ID: step, Status: ci.Running, Title: awkward}),
		ci.NewEvent(ci.EventStepFinished, ci.StepRun{ID: step, Status: ci.Succeeded}),
		ci.NewEvent(ci.EventJobFinished, ci.JobRun{ID: job, Name: "build", Status: ci.Succeeded}),
		ci.NewEvent(ci.EventBuildFinished, ci.Build{ID: "b", Project: "p", Status: ci.Succeeded, Ended: at}),
	}
	var want ci.Build
	for i := range events {
		events[i].Seq, events[i].Time = int64(i+1), at.Add(time.Duration(i))
		must(t, want.Apply(events[i]))
	}
	must(t, s.Append(t.Context(), events[0]))
	must(t, s.Append(t.Context(), events[1:3]...))
	for _, e := range events[3:] {
		must(t, s.Append(t.Context(), e))
	}
	b, got, err := s.Load(t.Context(), "b")
	must(t, err)
	if g, w := text(t, b), text(t, want); g != w {
		t.Errorf("build:\n got %s\nwant %s", g, w)
	}
	if g, w := text(t, got), text(t, events); g != w {
		t.Errorf("events:\n got %s\nwant %s", g, w)
	}
	open, err := s.Open(t.Context())
	if err != nil || len(open) != 0 {
		t.Errorf("a build that is done is listed as open: %v, %v", open, err)
	}
	wantKind(t, s.Append(t.Context(), Finished("b", ci.Failed)), ci.ErrConflict)
	wantStored(t, s, "b", ci.Succeeded, len(events))
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

// refusedWhole: the first event of each pair would be fine, and is not kept.
func refusedWhole(t *testing.T, s Store) {
	must(t, s.Append(t.Context(), Queued("b")))
	wantKind(t, s.Append(t.Context(), Started("b"), Queued("b")), ci.ErrConflict)
	wantStored(t, s, "b", ci.Queued, 1)
	job := ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: "b/j", Status: ci.Queued})
	step := ci.NewEvent(ci.EventStepStarted, ci.StepRun{ID: "b/j/BUILD/0", Status: ci.Running})
	wantKind(t, s.Append(t.Context(), Started("b"), job, step), ci.ErrConflict)
	wantStored(t, s, "b", ci.Queued, 1)
	// And nothing of it is in the way of what is right.
	must(t, s.Append(t.Context(), Started("b"), job))
	if b := wantStored(t, s, "b", ci.Running, 3); len(b.Jobs) != 1 {
		t.Errorf("got %d jobs, want 1", len(b.Jobs))
	}
}

// numbers: an event has the number after the last, or none and gets it.
func numbers(t *testing.T, s Store) {
	at := func(e ci.Event, seq int64) ci.Event { e.Seq = seq; return e }
	must(t, s.Append(t.Context(), at(Queued("b"), 1)))
	for _, seq := range []int64{1, 3, -1} {
		wantKind(t, s.Append(t.Context(), at(Started("b"), seq)), ci.ErrConflict)
	}
	must(t, s.Append(t.Context(), Started("b")))
	wantKind(t, s.Append(t.Context(), at(Finished("b", ci.Failed), 2)), ci.ErrConflict)
	must(t, s.Append(t.Context(), at(Finished("b", ci.Failed), 3)))
	wantStored(t, s, "b", ci.Failed, 3)
}

func mixed(t *testing.T, s Store) {
	must(t, s.Append(t.Context()))
	must(t, s.Append(t.Context(), Queued("a")))
	must(t, s.Append(t.Context(), Queued("b")))
	wantKind(t, s.Append(t.Context(), Started("a"), Started("b")), ci.ErrInvalid)
	wantKind(t, s.Append(t.Context(), ci.Event{Build: "a", Type: ci.EventOutput, Data: json.RawMessage("{}")}), ci.ErrInvalid)
	wantKind(t, s.Append(t.Context(), ci.Event{Build: "a", Type: ci.EventBuildStarted, Data: json.RawMessage("{")}), ci.ErrInvalid)
	wantStored(t, s, "a", ci.Queued, 1)
	wantStored(t, s, "b", ci.Queued, 1)
}

func unknown(t *testing.T, s Store) {
	wantKind(t, s.Append(t.Context(), Started("nobody")), ci.ErrNotFound)
	_, _, err := s.Load(t.Context(), "nobody")
	wantKind(t, err, ci.ErrNotFound)
	open, err := s.Open(t.Context())
	if err != nil || len(open) != 0 {
		t.Errorf("got %v, %v; want nothing", open, err)
	}
}

func openOldestFirst(t *testing.T, s Store) {
	at := time.Unix(1_800_000_000, 0)
	for i, id := range []ci.BuildID{"a", "b", "c"} {
		_, _, err := s.Create(t.Context(), ci.Build{ID: id, Project: "p", Number: int64(i + 1), Queued: at.Add(time.Duration(i))}, "")
		must(t, err)
	}
	must(t, s.Append(t.Context(), Started("c"), ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: "c/j", Status: ci.Queued})))
	must(t, s.Append(t.Context(), Finished("b", ci.Failed)))
	open, err := s.Open(t.Context())
	must(t, err)
	if len(open) != 2 || open[0].ID != "a" || open[1].ID != "c" || len(open[1].Jobs) != 1 {
		t.Errorf("got %s; want a, and c with its job", text(t, open))
	}
}

func createOnce(t *testing.T, s Store) {
	b := ci.Build{ID: "b", Project: "p", Number: 7, Queued: time.Unix(1_800_000_000, 5).UTC()}
	got, made, err := s.Create(t.Context(), b, "")
	b.Status = ci.Queued
	if err != nil || !made || !reflect.DeepEqual(got, b) {
		t.Fatalf("got %+v, made %v, %v", got, made, err)
	}
	must(t, s.Append(t.Context(), Started("b")))
	again := b
	again.Number = 8
	got, made, err = s.Create(t.Context(), again, "")
	if err != nil || made || got.ID != "b" {
		t.Errorf("the same ID again: got %+v, made %v, %v; want the first", got, made, err)
	}
	_, events, err := s.Load(t.Context(), "b")
	must(t, err)
	if len(events) != 2 || !events[0].Time.Equal(b.Queued) || events[0].Type != ci.EventBuildQueued {
		t.Errorf("got events %s", text(t, events))
	}
	again.Project = "q"
	_, _, err = s.Create(t.Context(), again, "")
	wantKind(t, err, ci.ErrConflict)
}

func createRefuses(t *testing.T, s Store) {
	for _, b := range []ci.Build{{Project: "p"}, {ID: "b", Project: "p", Status: ci.Running}} {
		_, _, err := s.Create(t.Context(), b, "")
		wantKind(t, err, ci.ErrInvalid)
	}
	_, _, err := s.Load(t.Context(), "b")
	wantKind(t, err, ci.ErrNotFound)
}

// twoWriters: of two that append the same number one wins, each time.
func twoWriters(t *testing.T, s Store) {
	must(t, s.Append(t.Context(), Queued("b")))
	must(t, s.Append(t.Context(), Started("b")))
	const rounds, writers = 20, 4
	for round := range rounds {
		var wg sync.WaitGroup
		won := make([]error, writers)
		for w := range writers {
			wg.Go(func() {
				e := ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: ci.JobID(fmt.Sprintf("b/j%d-%d", round, w)), Status: ci.Queued})
				e.Seq = int64(round + 3)
				won[w] = s.Append(t.Context(), e)
			})
		}
		wg.Wait()
		winners := 0
		for _, err := range won {
			if err == nil {
				winners++
			} else {
				wantKind(t, err, ci.ErrConflict)
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d writers won", round, winners)
		}
	}
	if b := wantStored(t, s, "b", ci.Running, rounds+2); len(b.Jobs) != rounds {
		t.Errorf("got %d jobs, want %d", len(b.Jobs), rounds)
	}
}

// manyBuildsAtOnce: builds do not get into each other's way, refused ones neither.
func manyBuildsAtOnce(t *testing.T, s Store) {
	var wg sync.WaitGroup
	for n := range 40 {
		id := ci.BuildID(fmt.Sprintf("b%02d", n))
		wg.Go(func() {
			for i, e := range []ci.Event{Queued(id), Started(id), Started("nobody"), Finished(id, ci.Succeeded)} {
				if err := s.Append(t.Context(), e); (err != nil) != (i == 2) {
					t.Errorf("build %s, event %d: %v", id, i, err)
				}
			}
		})
	}
	wg.Wait()
	for n := range 40 {
		wantStored(t, s, ci.BuildID(fmt.Sprintf("b%02d", n)), ci.Succeeded, 3)
	}
}
