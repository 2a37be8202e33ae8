package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

// properties: whatever is asked for, a store takes exactly what ci.Build.Apply
// takes, whole transitions at a time, and what it then gives is what folding them
// gives.
func properties(t *testing.T, s Store) {
	var n atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		id := ci.BuildID(fmt.Sprintf("r%06d", n.Add(1)))
		var want ci.Build
		var stored []ci.Event
		for range rapid.IntRange(1, 12).Draw(t, "transitions") {
			events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ci.Event { return drawEvent(t, id) }), 1, 3).Draw(t, "events")
			next, err := copyOf(stored)
			if err != nil {
				t.Fatal(err)
			}
			refused := len(stored) == 0 && events[0].Type != ci.EventBuildQueued
			for _, e := range events {
				if !refused && next.Apply(read(e)) != nil {
					refused = true
				}
			}
			err = s.Append(t.Context(), events...)
			if (err != nil) != refused {
				t.Fatalf("store says %v to %s after %v; ci.Build.Apply refuses: %v", err, brief(events), states(want), refused)
			}
			if !refused {
				want, stored = next, append(stored, events...)
			}
		}
		if len(stored) == 0 {
			return
		}
		b, events, err := s.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != len(stored) || fmt.Sprint(states(b)) != fmt.Sprint(states(want)) {
			t.Fatalf("got %d events, %v; want %d, %v", len(events), states(b), len(stored), states(want))
		}
	})
}

// copyOf folds anew, as Apply writes into what it has.
func copyOf(events []ci.Event) (b ci.Build, err error) {
	for _, e := range events {
		if err := b.Apply(read(e)); err != nil {
			return b, err
		}
	}
	return b, nil
}

// read is the event as it comes from a disk: Apply takes a new event's slices as
// they are and writes into them, which the store must not see.
func read(e ci.Event) ci.Event {
	return ci.Event{Seq: e.Seq, Time: e.Time, Type: e.Type, Build: e.Build, Job: e.Job, Step: e.Step, Status: e.Status, Data: e.Data}
}

func drawEvent(t *rapid.T, id ci.BuildID) ci.Event {
	status := rapid.SampledFrom([]ci.Status{ci.Running, ci.Running, ci.Queued, ci.Waiting, ci.Succeeded, ci.Failed}).Draw(t, "status")
	job := id.Job(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "job"), 1)
	step := job.Step(rapid.SampledFrom([]string{"BUILD/0", "BUILD/1"}).Draw(t, "step"))
	build := ci.Build{ID: id, Project: "p", Status: status}
	run := ci.JobRun{ID: job, Name: job.Name(), Status: status}
	if rapid.IntRange(0, 4).Draw(t, "with steps") == 0 {
		run.Steps = []ci.StepRun{{ID: step, Status: ci.Running}}
	}
	switch rapid.SampledFrom([]string{"queue", "start", "start", "finish", "job", "job", "job", "step", "step"}).Draw(t, "event") {
	case "queue":
		build.Status = ci.Queued
		return ci.NewEvent(ci.EventBuildQueued, build)
	case "start":
		return ci.NewEvent(ci.EventBuildStarted, build)
	case "finish":
		return ci.NewEvent(ci.EventBuildFinished, build)
	case "job":
		return ci.NewEvent(rapid.SampledFrom([]ci.EventType{ci.EventJobQueued, ci.EventJobStarted, ci.EventJobFinished}).Draw(t, "type"), run)
	}
	return ci.NewEvent(ci.EventStepStarted, ci.StepRun{ID: step, Status: status})
}

func brief(events []ci.Event) (text string) {
	for _, e := range events {
		text += fmt.Sprintf("%s %s%s %s; ", e.Type, e.Job, e.Step, e.Status)
	}
	return text
}

// states is all that the state machine goes by.
func states(b ci.Build) (list []string) {
	list = append(list, string(b.Status))
	for _, j := range b.Jobs {
		list = append(list, fmt.Sprint(j.ID, j.Status))
		for _, s := range j.Steps {
			list = append(list, fmt.Sprint(s.ID, s.Status))
		}
	}
	return list
}
