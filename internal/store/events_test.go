package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

// follow reads events by cursor, waiting on Changed, until it has n.
func follow(ctx context.Context, db *store.DB, n int) ([]store.Stamped, error) {
	var all []store.Stamped
	after := int64(0)
	for len(all) < n {
		changed := db.Changed()
		some, err := db.Events(ctx, after, 7)
		if err != nil {
			return all, err
		}
		for _, e := range some {
			if e.Cursor <= after {
				return all, fmt.Errorf("cursor %d came after %d", e.Cursor, after)
			}
			after = e.Cursor
		}
		if all = append(all, some...); len(some) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return all, fmt.Errorf("%d of %d events, then nothing: %w", len(all), n, ctx.Err())
		}
	}
	return all, nil
}

// Several write, on PostgreSQL in two processes' connections; readers that only
// ever look behind their cursor miss nothing. Those who only read are woken too.
func TestEventsCursorSkipsNothing(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		dbs := replicas(t, url)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const writers, builds = 6, 20
		total := writers * builds * 3
		var wg sync.WaitGroup
		for i, db := range dbs {
			wg.Go(func() {
				events, err := follow(ctx, db, total)
				if err != nil {
					t.Errorf("reader %d: %v", i, err)
				}
				seen := map[ci.BuildID]int64{}
				for _, e := range events {
					if e.Seq != seen[e.Build]+1 {
						t.Errorf("reader %d: event %d of build %s came after event %d", i, e.Seq, e.Build, seen[e.Build])
					}
					seen[e.Build] = e.Seq
				}
			})
		}
		for w := range writers {
			wg.Go(func() {
				db := dbs[w%len(dbs)]
				for n := range builds {
					id := ci.BuildID(fmt.Sprintf("b%d-%d", w, n))
					_, _, err := db.Create(ctx, ci.Build{ID: id, Project: "p"}, "")
					if err == nil {
						err = db.Append(ctx, storetest.Started(id), storetest.Finished(id, ci.Succeeded))
					}
					if err != nil {
						t.Errorf("build %s: %v", id, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// A build goes on where another process left it, and each sees what the other did.
func TestReplicasShareABuild(t *testing.T) {
	t.Parallel()
	dbs := replicas(t, postgresURL(t))
	ctx := t.Context()
	if _, _, err := dbs[0].Create(ctx, ci.Build{ID: "b", Project: "p"}, ""); err != nil {
		t.Fatal(err)
	}
	if err := dbs[1].Append(ctx, storetest.Started("b")); err != nil {
		t.Fatal(err)
	}
	// The first remembers the build as queued: it must find out.
	if err := dbs[0].Append(ctx, ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: "b/j", Status: ci.Queued})); err != nil {
		t.Fatal(err)
	}
	stale := storetest.Finished("b", ci.Failed)
	stale.Seq = 3
	if err := dbs[1].Append(ctx, stale); err == nil {
		t.Error("two processes stored event 3")
	}
	if err := dbs[1].Append(ctx, storetest.Finished("b", ci.Failed)); err != nil {
		t.Fatal(err)
	}
	b, events, err := dbs[0].Load(ctx, "b")
	if err != nil || b.Status != ci.Failed || len(events) != 4 || len(b.Jobs) != 1 {
		t.Errorf("got %s with %d events, %v", b.Status, len(events), err)
	}
}

// One that only reads hears of what another process commits, without asking.
func TestChangedHearsOtherProcesses(t *testing.T) {
	t.Parallel()
	dbs := replicas(t, postgresURL(t))
	for n := range 5 {
		changed := dbs[1].Changed()
		if err := dbs[0].Append(t.Context(), storetest.Queued(ci.BuildID(fmt.Sprint("b", n)))); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("nothing was heard")
		}
	}
}
