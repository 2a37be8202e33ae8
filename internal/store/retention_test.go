package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// aged stores a build of a number, that was queued on that day.
func aged(t *testing.T, db *store.DB, n int, ref string, end ci.Status) ci.BuildID {
	t.Helper()
	queued := time.Unix(1_700_000_000, 0).UTC().AddDate(0, 0, n)
	b := ci.Build{ID: ci.NewBuildID(queued), Project: "web", Status: ci.Queued, Queued: queued, Commit: ci.Commit{Ref: ref}}
	b, _, err := db.Create(t.Context(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	events := []ci.Event{}
	if end != ci.Queued {
		b.Status, b.Started = ci.Running, queued
		events = append(events, ci.NewEvent(ci.EventBuildStarted, b))
	}
	if end.Done() {
		b.Status, b.Ended = end, queued.Add(time.Minute)
		events = append(events, ci.NewEvent(ci.EventBuildFinished, b))
	}
	if err := db.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	return b.ID
}

func TestRetention(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		const main, tag = "refs/heads/main", "refs/tags/v1"
		ids := map[int64]ci.BuildID{}
		for i, b := range []struct {
			ref string
			end ci.Status
		}{
			{main, ci.Succeeded}, {tag, ci.Succeeded}, {main, ci.Running}, {main, ci.Failed}, {main, ci.Succeeded}, // the newest success
			{main, ci.Failed}, {"refs/heads/tags", ci.Canceled}, {main, ci.Failed}, {main, ci.Failed}, {main, ci.Queued},
		} {
			ids[int64(i+1)] = aged(t, db, i+1, b.ref, b.end)
		}
		day := func(n int) time.Time { return time.Unix(1_700_000_000, 0).UTC().AddDate(0, 0, n) }
		for _, c := range []struct {
			what string
			o    store.Overdue
			want []int64
		}{
			{"no limit", store.Overdue{Limit: 100}, nil},
			{"by number", store.Overdue{Keep: 3, Limit: 100}, []int64{1, 4, 6, 7}},
			{"by day", store.Overdue{Before: day(5), Limit: 100}, []int64{1, 4}},
			{"either", store.Overdue{Keep: 4, Before: day(8), Limit: 100}, []int64{1, 4, 6, 7}},
			{"either, the other", store.Overdue{Keep: 2, Before: day(2), Limit: 100}, []int64{1, 4, 6, 7, 8}},
			{"more than there are", store.Overdue{Keep: 50, Limit: 100}, nil},
			{"one at most", store.Overdue{Keep: 3, Limit: 1}, []int64{1}},
		} {
			c.o.Project, c.o.Part = "web", ci.PartBuild
			var got []int64
			for {
				some, err := db.Overdue(ctx, c.o)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range some {
					got = append(got, b.Number)
				}
				if len(some) < c.o.Limit || c.o.Limit == 1 {
					break
				}
				c.o.After = &some[len(some)-1]
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: got %v, want %v", c.what, got, c.want)
			}
		}
		some, err := db.Overdue(ctx, store.Overdue{Project: "web", Part: ci.PartBuild, Keep: 3, Limit: 1})
		if err != nil || len(some) != 1 {
			t.Fatal(some, err)
		}
		if next, err := db.Overdue(ctx, store.Overdue{Project: "web", Part: ci.PartBuild, Keep: 3, Limit: 1, After: &some[0]}); err != nil || len(next) != 1 || next[0].Number != 4 {
			t.Errorf("behind build 1: got %+v, %v; want build 4", next, err)
		}

		// A part goes once, and what runs keeps all.
		gone, err := db.Expire(ctx, ci.PartLogs, []ci.BuildID{ids[1], ids[3], "missing", ids[4]})
		if err != nil || !slices.Equal(gone, []ci.BuildID{ids[1], ids[4]}) {
			t.Errorf("got %v, %v; want builds 1 and 4", gone, err)
		}
		if left, err := db.Overdue(ctx, store.Overdue{Project: "web", Part: ci.PartLogs, Keep: 3, Limit: 100}); err != nil || len(left) != 2 || left[0].Number != 6 {
			t.Errorf("got %+v, %v; want builds 6 and 7", left, err)
		}
		if parts, err := db.Expired(ctx, ids[1]); err != nil || len(parts) != 1 || parts[ci.PartLogs].IsZero() {
			t.Errorf("got %v, %v", parts, err)
		}
		left, err := db.Discards(ctx, 10)
		if err != nil || len(left) != 2 || left[0].Part != ci.PartLogs {
			t.Errorf("got %v, %v; want the logs of two builds", left, err)
		}
		if err := db.Discarded(ctx, left...); err != nil {
			t.Fatal(err)
		}

		gone, err = db.Expire(ctx, ci.PartBuild, []ci.BuildID{ids[1], ids[3], ids[4], ids[10]})
		if err != nil || !slices.Equal(gone, []ci.BuildID{ids[1], ids[4]}) {
			t.Errorf("got %v, %v; want builds 1 and 4", gone, err)
		}
		_, _, err = db.Load(ctx, ids[1])
		want(t, "a build that went", err, ci.ErrNotFound)
		if parts, err := db.Expired(ctx, ids[1]); err != nil || len(parts) != 0 {
			t.Errorf("of a build that went: got %v, %v", parts, err)
		}
		// Deleted by a person, it is to be removed outside as well.
		if err := db.DeleteBuild(ctx, ids[6]); err != nil {
			t.Fatal(err)
		}
		wanted := fmt.Sprint(slices.Sorted(slices.Values([]string{string(ids[1]), string(ids[4]), string(ids[6])})))
		var has []string
		left, err = db.Discards(ctx, 10)
		for _, d := range left {
			if d.Part == ci.PartBuild {
				has = append(has, string(d.Build))
			}
		}
		if err != nil || fmt.Sprint(has) != wanted {
			t.Errorf("got %v, %v; want %s", left, err, wanted)
		}
	})
}
