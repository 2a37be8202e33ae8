package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

func putTarget(t *testing.T, db *store.DB, put ci.Target, sealed *string) ci.Target {
	t.Helper()
	got, _, err := db.PutTarget(t.Context(), put, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTargets(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		_, _, err := db.PutTarget(ctx, ci.Target{Name: "hook", Project: "shop", Kind: ci.TargetWebhook}, nil)
		want(t, "target of a project that is not there", err, ci.ErrNotFound)
		if _, err := db.PutProject(ctx, ci.Project{Name: "shop"}); err != nil {
			t.Fatal(err)
		}
		if err := db.Append(ctx, storetest.Queued("before")); err != nil {
			t.Fatal(err)
		}
		secret := "sealed"
		first := putTarget(t, db, ci.Target{Name: "hook", Project: "shop", Kind: ci.TargetWebhook, URL: "https://a", Branches: []string{"main"}}, &secret)
		if !first.HasSecret || first.Seen == 0 || first.Created.IsZero() {
			t.Errorf("got %+v: want a secret, and a cursor behind what was before", first)
		}
		changed, made, err := db.PutTarget(ctx, ci.Target{Name: "hook", Project: "shop", Kind: ci.TargetWebhook, URL: "https://b"}, nil)
		if err != nil || made || changed.ID != first.ID || changed.Seen != first.Seen || changed.Sealed != secret || !changed.Created.Equal(first.Created) {
			t.Errorf("got %+v, made %v, %v; want the same with another URL", changed, made, err)
		}
		read, err := db.Target(ctx, "shop", "hook")
		if err != nil || read.URL != "https://b" || len(read.Branches) != 0 || read.Sealed != secret || !read.HasSecret {
			t.Errorf("got %+v, %v", read, err)
		}
		none := ""
		if got := putTarget(t, db, ci.Target{Name: "hook", Project: "shop"}, &none); got.HasSecret {
			t.Error("the secret was taken away, and is there")
		}
		putTarget(t, db, ci.Target{Name: "hook"}, nil) // of all projects, under the same name
		all, err := db.AllTargets(ctx)
		if err != nil || len(all) != 2 {
			t.Errorf("got %d targets, %v; want 2", len(all), err)
		}
		_, err = db.Target(ctx, "shop", "other")
		want(t, "another target", err, ci.ErrNotFound)
		want(t, "delete of another", db.DeleteTarget(ctx, "", "other"), ci.ErrNotFound)
		plan(t, db, ci.Planned{Target: first.ID, From: first.Seen, To: 50, Deliveries: []ci.Delivery{{Event: 50}}})
		if err := db.DeleteProject(ctx, "shop", true); err != nil {
			t.Fatal(err)
		}
		if all, err = db.AllTargets(ctx); err != nil || len(all) != 1 || all[0].Project != "" {
			t.Errorf("got %+v, %v; want those of the deleted project gone", all, err)
		}
		if err := db.DeleteTarget(ctx, "", "hook"); err != nil {
			t.Error(err)
		}
	})
}

func plan(t *testing.T, db *store.DB, p ...ci.Planned) {
	t.Helper()
	if err := db.Plan(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func TestPlanIsExact(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		a, b := putTarget(t, db, ci.Target{Name: "a"}, nil), putTarget(t, db, ci.Target{Name: "b"}, nil)
		deliveries := []ci.Delivery{{Event: 3, Due: time.Unix(100, 0)}, {Event: 5, Due: time.Unix(50, 0)}}
		plan(t, db, ci.Planned{Target: a.ID, From: 0, To: 7, Deliveries: deliveries}, ci.Planned{Target: 999, To: 7, Deliveries: deliveries})
		// What another looked at already is not planned twice, and nothing beside it is.
		err := db.Plan(ctx, []ci.Planned{{Target: b.ID, From: 0, To: 9, Deliveries: deliveries}, {Target: a.ID, From: 0, To: 9, Deliveries: deliveries}})
		want(t, "a plan behind another's", err, ci.ErrConflict)
		first, err := db.FirstDue(ctx)
		if err != nil || len(first) != 1 || !first[a.ID].Equal(time.Unix(50, 0)) {
			t.Errorf("got %v, %v; want one target, due at 50", first, err)
		}
		due, err := db.Due(ctx, a.ID, time.Unix(99, 0), 10)
		if err != nil || len(due) != 1 || due[0].Event != 5 || due[0].State != ci.DeliveryPending {
			t.Errorf("got %+v, %v; want the one that is due", due, err)
		}
	})
}

func TestDeliveries(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		now := time.Unix(1_800_000_000, 0).UTC()
		db := openWith(t, url, store.Options{Now: func() time.Time { return now }})
		ctx := t.Context()
		target := putTarget(t, db, ci.Target{Name: "a"}, nil)
		var list []ci.Delivery
		for n := range 5 {
			list = append(list, ci.Delivery{Event: int64(n + 1), Created: now, Due: now, Notice: ci.Notice{Project: "p", Number: int64(n + 1), Reason: "ü\x00'"}})
		}
		plan(t, db, ci.Planned{Target: target.ID, To: 5, Deliveries: list})
		page, next, err := db.Deliveries(ctx, target.ID, "", "", 2)
		if err != nil || len(page) != 2 || page[0].Event != 5 || next == "" || page[0].Notice.Reason != "ü\x00'" {
			t.Fatalf("got %+v, %q, %v", page, next, err)
		}
		rest, last, err := db.Deliveries(ctx, target.ID, "", next, 10)
		if err != nil || len(rest) != 3 || last != "" || rest[0].Event != 3 {
			t.Errorf("got %+v, %q, %v; want the other three", rest, last, err)
		}
		_, _, err = db.Deliveries(ctx, target.ID, "", "x", 10)
		want(t, "a cursor of nobody's", err, ci.ErrInvalid)
		done, dead := page[0], page[1]
		done.State, done.Attempts, done.Ended = ci.DeliveryDelivered, 1, now
		dead.State, dead.Attempts, dead.Ended, dead.Error = ci.DeliveryDead, 3, now, "no\x00"
		for _, d := range []ci.Delivery{done, dead} {
			if err := db.SaveDelivery(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		late := done
		late.State, late.Attempts = ci.DeliveryDead, 9
		if err := db.SaveDelivery(ctx, late); err != nil { // of one that held the right to send before
			t.Fatal(err)
		}
		if got, _, err := db.Deliveries(ctx, target.ID, ci.DeliveryDelivered, "", 10); err != nil || len(got) != 1 || got[0].Attempts != 1 {
			t.Errorf("got %+v, %v; want the one that was delivered, as it was", got, err)
		}
		if err := db.GiveUp(ctx, target.ID, now, now, "old"); err != nil {
			t.Fatal(err)
		}
		counts, err := db.DeliveryCounts(ctx)
		if err != nil || counts[ci.DeliveryPending] != 3 || counts[ci.DeliveryDead] != 1 {
			t.Errorf("got %v, %v; want 3 pending, none of which is old, and 1 dead", counts, err)
		}
		if n, err := db.Redeliver(ctx, target.ID, 0); err != nil || n != 1 {
			t.Errorf("got %d, %v; want the dead one", n, err)
		}
		if n, err := db.Redeliver(ctx, target.ID, done.ID); err != nil || n != 1 {
			t.Errorf("got %d, %v; want the one that was delivered", n, err)
		}
		_, err = db.Redeliver(ctx, target.ID+1, done.ID)
		want(t, "a delivery of another target", err, ci.ErrNotFound)
		if err := db.GiveUp(ctx, target.ID, now.Add(time.Second), now, "old"); err != nil {
			t.Fatal(err)
		}
		if err := db.PruneDeliveries(ctx, now.Add(time.Hour), now); err != nil {
			t.Fatal(err)
		}
		if got, _, err := db.Deliveries(ctx, target.ID, ci.DeliveryDead, "", 10); err != nil || len(got) != 5 || got[4].Error != "old" {
			t.Errorf("got %+v, %v; want 5 that were given up, none old enough to be forgotten", got, err)
		}
		if err := db.PruneDeliveries(ctx, now, now.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if got, _, err := db.Deliveries(ctx, target.ID, "", "", 10); err != nil || len(got) != 0 {
			t.Errorf("got %d, %v; want all forgotten", len(got), err)
		}
	})
}

// Happened gives what Events gives, of some types, and goes over what is deleted.
func TestHappened(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		var wg sync.WaitGroup
		for n := range 10 {
			id := ci.BuildID(fmt.Sprint("b", n))
			wg.Go(func() {
				for _, e := range []ci.Event{storetest.Queued(id), storetest.Started(id), storetest.Finished(id, ci.Failed)} {
					if err := db.Append(ctx, e); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		seen, after := map[ci.BuildID]bool{}, int64(0)
		for {
			list, upTo, err := db.Happened(ctx, after, 3, ci.EventBuildFinished, ci.EventCancel)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if seen[e.Build] || e.Type != ci.EventBuildFinished || e.Cursor <= after || e.Cursor > upTo {
					t.Errorf("got %+v behind %d, up to %d", e, after, upTo)
				}
				seen[e.Build] = true
			}
			if upTo == after {
				break
			}
			after = upTo
		}
		if len(seen) != 10 {
			t.Errorf("got %d builds, want 10", len(seen))
		}
		for n := range 10 {
			if err := db.DeleteBuild(ctx, ci.BuildID(fmt.Sprint("b", n))); err != nil {
				t.Fatal(err)
			}
		}
		if list, upTo, err := db.Happened(ctx, after, 3, ci.EventBuildFinished); err != nil || len(list) != 0 || upTo != after {
			t.Errorf("got %v, %d, %v; want to stay at %d", list, upTo, err, after)
		}
		if err := db.Append(ctx, storetest.Queued("new"), storetest.Started("new"), storetest.Finished("new", ci.Succeeded)); err != nil {
			t.Fatal(err)
		}
		if list, _, err := db.Happened(ctx, after, 3, ci.EventBuildFinished); err != nil || len(list) != 1 || list[0].Build != "new" {
			t.Errorf("got %v, %v; want the new one", list, err)
		}
	})
}

func TestBefore(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		at := time.Unix(1_800_000_000, 0)
		var last ci.Build
		for n, c := range []struct {
			ref    string
			status ci.Status
		}{{"main", ci.Failed}, {"other", ci.Succeeded}, {"main", ci.Canceled}, {"main", ""}, {"main", ci.Succeeded}} {
			b := ci.Build{ID: ci.BuildID(fmt.Sprint("b", n)), Project: "p", Queued: at.Add(time.Duration(n)), Source: ci.Source{Version: c.ref}}
			made, _, err := db.Create(ctx, b, "")
			if err != nil {
				t.Fatal(err)
			}
			last = made
			if c.status == "" {
				continue
			}
			made.Status = ci.Running
			started := ci.NewEvent(ci.EventBuildStarted, made)
			made.Status = c.status
			if err := db.Append(ctx, started, ci.NewEvent(ci.EventBuildFinished, made)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := db.Before(ctx, last); err != nil || got != ci.Failed {
			t.Errorf("got %q, %v; want failed, the last on the branch that says something", got, err)
		}
		if b, err := db.Listed(ctx, "b1"); err != nil || b.Number != 2 || b.Source.Version != "other" {
			t.Errorf("got %+v, %v", b, err)
		}
		_, err := db.Listed(ctx, "none")
		want(t, "another build", err, ci.ErrNotFound)
		if got, err := db.Before(ctx, ci.Build{Project: "p", Number: 1, Source: ci.Source{Version: "main"}, Queued: at}); err != nil || got != "" {
			t.Errorf("before the first: got %q, %v", got, err)
		}
	})
}
