package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// held is a new build of project p in the hands of the node.
func held(t *testing.T, db *store.DB, id, node string, limit int) ci.BuildID {
	t.Helper()
	b, made, err := db.Create(t.Context(), ci.Build{ID: ci.BuildID(id), Project: "p", Node: node, Queued: time.Unix(1_700_000_000, 0), Limits: ci.Limits{Builds: limit}}, "")
	if err != nil || !made {
		t.Fatalf("create %s: made %v, %v", id, made, err)
	}
	return b.ID
}

// starts has the node that has the build begin a job of it.
func starts(t *testing.T, db *store.DB, id ci.BuildID) {
	t.Helper()
	b, _, err := db.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b.Status = ci.Running
	j := ci.JobRun{ID: id.Job("build", 1), Name: "build", Status: ci.Queued}
	begun := j
	begun.Status = ci.Running
	if err := db.Append(t.Context(), ci.NewEvent(ci.EventBuildStarted, b), ci.NewEvent(ci.EventJobQueued, j), ci.NewEvent(ci.EventJobStarted, begun)); err != nil {
		t.Fatal(err)
	}
}

func wantIDs(t *testing.T, what string, got []ci.BuildID, err error, want ...ci.BuildID) {
	t.Helper()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
	}
}

func TestBuildsAreInTheHandsOfNodes(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := openURL(t, url), t.Context()
		for _, n := range []string{"one", "two"} {
			if err := db.Beat(ctx, n, "http://"+n, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		waits, runs := held(t, db, "a", "one", 0), held(t, db, "b", "one", 0)
		starts(t, db, runs)
		list, err := db.Held(ctx, "one")
		wantIDs(t, "held", list, err, waits, runs)
		list, err = db.Abandoned(ctx)
		wantIDs(t, "abandoned while all live", list, err)
		waiting, err := db.Waiting(ctx, "two", time.Minute, 10)
		if err != nil || len(waiting) != 1 || waiting[0].ID != waits || waiting[0].Node != "one" {
			t.Errorf("waiting elsewhere: got %+v, %v", waiting, err)
		}
		if waiting, err = db.Waiting(ctx, "one", time.Minute, 10); err != nil || len(waiting) != 0 {
			t.Errorf("waiting elsewhere, asked by who has it: got %+v, %v", waiting, err)
		}

		want(t, "take what runs", db.Take(ctx, runs, "two", ci.Node{}), ci.ErrConflict)
		want(t, "take what runs on a node that has beaten since it was seen", db.Take(ctx, runs, "two", ci.Node{Name: "one", Beat: 0}), ci.ErrConflict)
		want(t, "take what runs on another node than the one that is gone", db.Take(ctx, runs, "two", ci.Node{Name: "two", Beat: 1}), ci.ErrConflict)
		if err := db.Take(ctx, waits, "two", ci.Node{}); err != nil {
			t.Fatal(err)
		}
		b, events, err := db.Load(ctx, waits)
		if err != nil || b.Node != "two" || events[len(events)-1].Type != ci.EventBuildTaken {
			t.Errorf("taken: got %+v, %v", b, err)
		}
		// Who had it is refused, and knows it: its next event has a number that is taken.
		b.Node, b.Status = "one", ci.Running
		late := ci.NewEvent(ci.EventBuildStarted, b)
		late.Seq = int64(len(events))
		want(t, "an event of who had it", db.Append(ctx, late), ci.ErrConflict)

		// It has not beaten since it was seen: what it has is there to be taken.
		if err := db.Take(ctx, runs, "two", ci.Node{Name: "one", Beat: 1}); err != nil {
			t.Errorf("take what runs on a node that is gone: %v", err)
		}
		list, err = db.Held(ctx, "two")
		wantIDs(t, "held by two", list, err, waits, runs)
		if err := db.Beat(ctx, "one", "http://one", 0); err != nil {
			t.Fatal(err)
		}
		nodes, err := db.Nodes(ctx)
		if err != nil || len(nodes) != 2 || nodes[0].Left != 0 || nodes[0].Beat != 2 || nodes[1].Name != "two" || nodes[1].URL != "http://two" || nodes[1].Left < 50*time.Minute {
			t.Errorf("nodes: got %+v, %v", nodes, err)
		}
		want(t, "take what is not there", db.Take(ctx, "none", "two", ci.Node{}), ci.ErrNotFound)
	})
}

func TestABuildGoesToOneNode(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := openURL(t, url), t.Context()
		id := held(t, db, "a", "gone", 0)
		starts(t, db, id)
		var wg sync.WaitGroup
		won := make([]error, 8)
		for w := range won {
			node := fmt.Sprint("node", w)
			if err := db.Beat(ctx, node, "", time.Hour); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { won[w] = db.Take(ctx, id, node, ci.Node{}) })
		}
		wg.Wait()
		winners := 0
		for w, err := range won {
			if err == nil {
				winners++
				continue
			}
			want(t, fmt.Sprint("node", w), err, ci.ErrConflict)
		}
		if winners != 1 {
			t.Errorf("%d of 8 have the build", winners)
		}
	})
}

// A limit of builds at once can only be kept by a node that has all of them.
func TestBuildsWithALimitStayTogether(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := openURL(t, url), t.Context()
		for _, n := range []string{"one", "two"} {
			if err := db.Beat(ctx, n, "", time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		first, second := held(t, db, "a", "one", 1), held(t, db, "b", "two", 1)
		list, err := db.Held(ctx, "one")
		wantIDs(t, "held by who has the first", list, err, first, second)
		want(t, "take one of them", db.Take(ctx, second, "two", ci.Node{}), ci.ErrConflict)
		for _, id := range []ci.BuildID{first, second} {
			if err := db.Take(ctx, id, "two", ci.Node{Name: "one", Beat: 1}); err != nil {
				t.Errorf("take %s of a node that is gone: %v", id, err)
			}
		}
	})
}

func TestWishesReachWhoHasTheBuild(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := openURL(t, url), t.Context()
		a, b := held(t, db, "a", "one", 0), held(t, db, "b", "two", 0)
		for _, w := range []struct {
			id    ci.BuildID
			cause string
		}{{a, "first"}, {a, "second"}, {b, "other"}} {
			if err := db.Wish(ctx, w.id, w.cause); err != nil {
				t.Fatal(err)
			}
		}
		got, err := db.Wishes(ctx, "one")
		if err != nil || len(got) != 1 || got[a] != "first" {
			t.Errorf("wishes of one: got %v, %v", got, err)
		}
		if err := db.Granted(ctx, a); err != nil {
			t.Fatal(err)
		}
		if got, err = db.Wishes(ctx, "one"); err != nil || len(got) != 0 {
			t.Errorf("wishes of one, granted: got %v, %v", got, err)
		}
		if got, err = db.Wishes(ctx, "two"); err != nil || got[b] != "other" {
			t.Errorf("wishes of two: got %v, %v", got, err)
		}
	})
}
