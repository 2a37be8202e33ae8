package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

// replicas opens the database as several servers would have it: SQLite has one only.
func replicas(t *testing.T, url string) []*store.DB {
	t.Helper()
	list := []*store.DB{openURL(t, url)}
	if strings.HasPrefix(url, "postgres") {
		list = append(list, openURL(t, url))
	}
	return list
}

func TestCreateNumbersWithoutGapsAndDoubles(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		dbs := replicas(t, url)
		const clients, builds = 8, 15
		var mu sync.Mutex
		var numbers []int64
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for n := range builds {
					// Between them, some that are refused: they may not take a number away.
					b := ci.Build{ID: ci.BuildID(fmt.Sprintf("%d-%d", c, n)), Project: "p"}
					_, _, err := dbs[c%len(dbs)].Create(t.Context(), ci.Build{ID: b.ID + "x", Project: "p", Number: 1 << 40}, "")
					if err != nil && !errors.Is(err, ci.ErrConflict) {
						t.Errorf("create with a number: %v", err)
					}
					b.Project = "q"
					got, made, err := dbs[c%len(dbs)].Create(t.Context(), b, "")
					if err != nil || !made {
						t.Errorf("create: made %v, %v", made, err)
					}
					mu.Lock()
					numbers = append(numbers, got.Number)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		slices.Sort(numbers)
		for i, n := range numbers {
			if n != int64(i+1) {
				t.Fatalf("got numbers %v, want 1 to %d", numbers, len(numbers))
			}
		}
		got, _, err := dbs[0].Create(t.Context(), ci.Build{ID: "next", Project: "p"}, "")
		if err != nil || got.Number != 1<<40+1 {
			t.Errorf("after a number that was given: got %d, %v", got.Number, err)
		}
	})
}

func TestCreateTakesAKeyOnce(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		dbs := replicas(t, url)
		const clients = 8
		got := make([]ci.Build, clients)
		made := make([]bool, clients)
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				var err error
				got[c], made[c], err = dbs[c%len(dbs)].Create(t.Context(), ci.Build{ID: ci.BuildID(fmt.Sprint("b", c)), Project: "p"}, "push-1")
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		count := 0
		for c := range clients {
			if made[c] {
				count++
			}
			if got[c].ID != got[0].ID || got[c].Number != 1 {
				t.Errorf("client %d got %s, number %d; client 0 got %s", c, got[c].ID, got[c].Number, got[0].ID)
			}
		}
		if count != 1 {
			t.Errorf("%d builds were made for one key", count)
		}
		other, isMade, err := dbs[0].Create(t.Context(), ci.Build{ID: "other", Project: "q"}, "push-1")
		if err != nil || !isMade || other.ID != "other" {
			t.Errorf("the key in another project: got %s, made %v, %v", other.ID, isMade, err)
		}
		next, _, err := dbs[0].Create(t.Context(), ci.Build{ID: "later", Project: "p"}, "push-2")
		if err != nil || next.Number != 2 {
			t.Errorf("got number %d, %v; those that were not made may not have taken numbers", next.Number, err)
		}
	})
}

func TestBuildByNumberAndDeleteBuild(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		for _, id := range []ci.BuildID{"a", "b"} {
			if _, _, err := db.Create(ctx, ci.Build{ID: id, Project: "p"}, "key-"+string(id)); err != nil {
				t.Fatal(err)
			}
		}
		if id, err := db.BuildByNumber(ctx, "p", 2); err != nil || id != "b" {
			t.Errorf("got %q, %v", id, err)
		}
		if err := db.DeleteBuild(ctx, "b"); !errors.Is(err, ci.ErrConflict) {
			t.Errorf("deleting a build that is queued: %v", err)
		}
		if err := db.Append(ctx, storetest.Finished("b", ci.Failed)); err != nil {
			t.Fatal(err)
		}
		if err := db.DeleteBuild(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		_, err := db.BuildByNumber(ctx, "p", 2)
		_, _, loadErr := db.Load(ctx, "b")
		for what, err := range map[string]error{"by number": err, "load": loadErr, "append": db.Append(ctx, storetest.Started("b")), "delete": db.DeleteBuild(ctx, "b")} {
			if !errors.Is(err, ci.ErrNotFound) {
				t.Errorf("%s after delete: %v", what, err)
			}
		}
		// The cursor and the number of what is gone are not given again.
		last, err := db.Events(ctx, 0, 10)
		if err != nil || len(last) != 1 {
			t.Fatalf("got events %v, %v", last, err)
		}
		got, made, err := db.Create(ctx, ci.Build{ID: "c", Project: "p"}, "key-b")
		if err != nil || !made || got.Number != 3 {
			t.Errorf("got number %d, made %v, %v", got.Number, made, err)
		}
		events, err := db.Events(ctx, 3, 10)
		if err != nil || len(events) != 1 || events[0].Build != "c" {
			t.Errorf("behind cursor 3: %v, %v", events, err)
		}
	})
}

// drawBuild makes a build that lists may find by few different values.
func drawBuild(t *rapid.T, n int) ci.Build {
	return ci.Build{
		ID: ci.BuildID(fmt.Sprintf("b%04d", n)), Project: rapid.SampledFrom([]string{"p", "q", "P"}).Draw(t, "project"),
		Source:    ci.Source{Version: rapid.SampledFrom([]string{"", "main", "refs/heads/main", "refs/tags/main", "dev"}).Draw(t, "ref")},
		Commit:    ci.Commit{Hash: rapid.SampledFrom([]string{"", "aa", "ab", strings.Repeat("a", 40)}).Draw(t, "commit")},
		Initiator: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "initiator"),
		Queued:    time.Unix(1_800_000_000+int64(rapid.IntRange(0, 9).Draw(t, "queued")), 0).UTC(),
	}
}

func drawFilter(t *rapid.T) store.Filter {
	f := store.Filter{
		Project:   rapid.SampledFrom([]string{"", "", "p", "q", "none"}).Draw(t, "project"),
		Ref:       rapid.SampledFrom([]string{"", "", "main", "refs/heads/main"}).Draw(t, "ref"),
		Commit:    rapid.SampledFrom([]string{"", "", "a", "ab", strings.Repeat("a", 40)}).Draw(t, "commit"),
		Initiator: rapid.SampledFrom([]string{"", "", "ann"}).Draw(t, "initiator"),
		Number:    rapid.SampledFrom([]int64{0, 0, 0, 2}).Draw(t, "number"),
		Status:    rapid.SliceOfN(rapid.SampledFrom([]ci.Status{ci.Queued, ci.Running, ci.Failed}), 0, 3).Draw(t, "status"),
		Limit:     rapid.IntRange(1, 7).Draw(t, "limit"),
	}
	slices.Sort(f.Status)
	f.Status = slices.Compact(f.Status)
	if rapid.Bool().Draw(t, "since") {
		f.Since = time.Unix(1_800_000_003, 0)
	}
	if rapid.Bool().Draw(t, "until") {
		f.Until = time.Unix(1_800_000_008, 0)
	}
	return f
}

// matches is Filter once more, as simple as can be.
func matches(f store.Filter, b ci.Build) bool {
	v := b.Source.Version
	return (f.Project == "" || f.Project == b.Project) && (f.Initiator == "" || f.Initiator == b.Initiator) &&
		(f.Number == 0 || f.Number == b.Number) && strings.HasPrefix(b.Commit.Hash, f.Commit) &&
		(f.Ref == "" || f.Ref == v || "refs/heads/"+f.Ref == v || "refs/tags/"+f.Ref == v) &&
		(len(f.Status) == 0 || slices.Contains(f.Status, b.Status)) &&
		(f.Since.IsZero() || !b.Queued.Before(f.Since)) && (f.Until.IsZero() || b.Queued.Before(f.Until))
}

func TestBuildsFiltersAndPages(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		all := []ci.Build{}
		n := 0
		add := func(rt *rapid.T) {
			b := drawBuild(rt, n)
			n++
			b, _, err := db.Create(t.Context(), b, "")
			if err != nil {
				rt.Fatal(err)
			}
			if to := rapid.SampledFrom([]ci.Status{ci.Queued, ci.Running, ci.Failed}).Draw(rt, "to"); to != ci.Queued {
				kind := ci.EventBuildStarted
				if to == ci.Failed {
					kind = ci.EventBuildFinished
				}
				b.Status = to
				if err := db.Append(t.Context(), ci.NewEvent(kind, b)); err != nil {
					rt.Fatal(err)
				}
			}
			all = append(all, b)
		}
		rapid.Check(t, func(rt *rapid.T) {
			for range rapid.IntRange(0, 3).Draw(rt, "more") {
				add(rt)
			}
			f := drawFilter(rt)
			var want, got []string
			for i, b := range all {
				if matches(f, b) {
					want = append(want, fmt.Sprintf("%d %08d %s %s %s", b.Queued.Unix(), i, b.ID, b.Status, b.Project))
				}
			}
			slices.Sort(want)
			slices.Reverse(want)
			index := map[ci.BuildID]int{}
			for i, b := range all {
				index[b.ID] = i
			}
			for pages := 0; ; pages++ {
				page, next, err := db.Builds(t.Context(), f)
				if err != nil {
					rt.Fatal(err)
				}
				for _, b := range page {
					if i, known := index[b.ID]; known { // not one that came in between
						got = append(got, fmt.Sprintf("%d %08d %s %s %s", b.Queued.Unix(), i, b.ID, b.Status, b.Project))
					}
				}
				if f.Cursor = next; next == "" {
					break
				}
				if pages == 0 {
					add(rt)
				}
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("filter %+v:\n got %q\nwant %q", f, got, want)
			}
		})
	})
}

func TestBuildsRefusesForeignCursorsAndLimits(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		for n := range 3 {
			if _, _, err := db.Create(t.Context(), ci.Build{ID: ci.BuildID(fmt.Sprint(n)), Project: "p", Queued: time.Now()}, ""); err != nil {
				t.Fatal(err)
			}
		}
		_, next, err := db.Builds(t.Context(), store.Filter{Limit: 1})
		if err != nil || next == "" {
			t.Fatalf("next %q, %v", next, err)
		}
		for _, f := range []store.Filter{
			{Cursor: "x"}, {Cursor: next + "AAAA"}, {Cursor: "AAAA" + next[4:]}, {Cursor: next, Project: "p"},
			{Cursor: "' OR 1=1 --"}, {Limit: -1}, {Limit: 1001},
		} {
			if page, _, err := db.Builds(t.Context(), f); !errors.Is(err, ci.ErrInvalid) {
				t.Errorf("filter %+v: got %d builds, %v; want ErrInvalid", f, len(page), err)
			}
		}
	})
}
