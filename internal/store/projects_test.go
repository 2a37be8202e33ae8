package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

func want(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: got %v, want %v", what, err, kind)
	}
}

func TestProjectsAreChangedByRevision(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		now := time.Unix(1_800_000_000, 7).UTC()
		db := openWith(t, url, store.Options{Now: func() time.Time { return now }})
		ctx := t.Context()
		p := ci.Project{Name: "shop", Source: ci.Source{Type: "git", Location: "https://example.com/shop.git"}, Description: "a shop",
			Variables: []ci.Variable{{Name: "A", Value: "ü\x00"}}, Limits: ci.Limits{Timeout: time.Hour}, Tags: map[string]string{"team": "x"}}
		first, err := db.PutProject(ctx, p)
		if err != nil || first.Revision != 1 || !first.Created.Equal(now) {
			t.Fatalf("got %+v, %v", first, err)
		}
		_, err = db.PutProject(ctx, p)
		want(t, "a second new one", err, ci.ErrConflict)
		created := now
		now = now.Add(time.Hour)
		second := first
		second.Description = "changed"
		second, err = db.PutProject(ctx, second)
		if err != nil || second.Revision != 2 || !second.Created.Equal(created) || !second.Updated.Equal(now) {
			t.Fatalf("got %+v, %v", second, err)
		}
		_, err = db.PutProject(ctx, first)
		want(t, "from an old revision", err, ci.ErrConflict)
		got, err := db.Project(ctx, "shop")
		if err != nil || !reflect.DeepEqual(got, second) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, second)
		}
		_, err = db.PutProject(ctx, ci.Project{Name: "-"})
		want(t, "a bad name", err, ci.ErrInvalid)
		_, err = db.PutProject(ctx, ci.Project{Name: "other", Revision: 3})
		want(t, "a change of what is not there", err, ci.ErrNotFound)
		_, err = db.Project(ctx, "other")
		want(t, "reading what is not there", err, ci.ErrNotFound)
	})
}

func TestProjectsPages(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		for _, name := range []string{"b-2", "B-1", "b_1", "ba", "b-1", "a1", "c1"} {
			if _, err := db.PutProject(t.Context(), ci.Project{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		for prefix, names := range map[string][]string{
			"": {"B-1", "a1", "b-1", "b-2", "b_1", "ba", "c1"}, "b": {"b-1", "b-2", "b_1", "ba"}, "b-": {"b-1", "b-2"}, "b_": {"b_1"}, "x": nil,
		} {
			var got []string
			for after, more := "", true; more; {
				page, next, err := db.Projects(t.Context(), prefix, after, 2)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range page {
					got = append(got, p.Name)
				}
				after, more = next, next != ""
			}
			if !reflect.DeepEqual(got, names) {
				t.Errorf("prefix %q: got %q, want %q", prefix, got, names)
			}
		}
	})
}

func TestDeleteProject(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		if _, err := db.PutProject(ctx, ci.Project{Name: "shop"}); err != nil {
			t.Fatal(err)
		}
		want(t, "delete of another", db.DeleteProject(ctx, "other", true), ci.ErrNotFound)
		const builds = 120 // more than go at once
		for n := range builds {
			id := ci.BuildID(fmt.Sprint("b", n))
			if _, _, err := db.Create(ctx, ci.Build{ID: id, Project: "shop"}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := db.Create(ctx, ci.Build{ID: "stays", Project: "other"}, ""); err != nil {
			t.Fatal(err)
		}
		want(t, "delete with builds that are queued", db.DeleteProject(ctx, "shop", false), ci.ErrConflict)
		if _, err := db.Project(ctx, "shop"); err != nil {
			t.Errorf("after a refused delete: %v", err)
		}
		// Builds that come while it is deleted are stored and go, or are refused.
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				_, _, err := db.Create(ctx, ci.Build{ID: ci.BuildID(fmt.Sprint("late", n)), Project: "shop"}, "")
				if err != nil && !errors.Is(err, ci.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		if err := db.DeleteProject(ctx, "shop", true); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		left, _, err := db.Builds(ctx, store.Filter{})
		if err != nil || len(left) != 1 || left[0].ID != "stays" {
			t.Errorf("%d builds are left, %v", len(left), err)
		}
		events, err := db.Events(ctx, 0, 1000)
		if err != nil || len(events) != 1 {
			t.Errorf("%d events are left, %v", len(events), err)
		}
		want(t, "append to a build of it", db.Append(ctx, storetest.Started("b1")), ci.ErrNotFound)
		_, _, err = db.Create(ctx, ci.Build{ID: "late", Project: "shop"}, "")
		want(t, "a new build of it", err, ci.ErrNotFound)
		// Made again, it has no old builds and gives no old numbers.
		if _, err := db.PutProject(ctx, ci.Project{Name: "shop"}); err != nil {
			t.Fatal(err)
		}
		got, _, err := db.Create(ctx, ci.Build{ID: "new", Project: "shop"}, "")
		if err != nil || got.Number <= builds {
			t.Errorf("got number %d, %v; want one that was not given yet", got.Number, err)
		}
	})
}

// A process killed in the middle of a delete left builds: the next one removes them.
func TestDeleteProjectGoesOnAfterARestart(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		for n := range 60 {
			if _, _, err := db.Create(t.Context(), ci.Build{ID: ci.BuildID(fmt.Sprint("b", n)), Project: "shop"}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		run(t, raw(t, url), "UPDATE counters SET deleted = 1 WHERE project = 'shop'")
		db = openURL(t, url)
		for {
			changed := db.Changed()
			left, _, err := db.Builds(t.Context(), store.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			if len(left) == 0 {
				return
			}
			select {
			case <-changed:
			case <-time.After(time.Minute):
				t.Fatalf("%d builds are left", len(left))
			}
		}
	})
}

func TestUsersAndTokens(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		now := time.Unix(1_800_000_000, 0).UTC()
		db := openWith(t, url, store.Options{Now: func() time.Time { return now }})
		ctx := t.Context()
		ann, err := db.PutUser(ctx, ci.User{Name: "ann", Role: ci.RoleAdmin, Password: "$argon2id$x", Groups: []string{"dev"}})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		ann.Role, ann.Projects = ci.RoleViewer, map[string]ci.Role{"shop": ci.RoleMaintainer}
		if ann, err = db.PutUser(ctx, ann); err != nil {
			t.Fatal(err)
		}
		got, err := db.User(ctx, "ann")
		if err != nil || !reflect.DeepEqual(got, ann) || got.Password != "$argon2id$x" || !got.Created.Equal(now.Add(-time.Hour)) {
			t.Errorf("got %+v, %v; want %+v", got, err, ann)
		}
		if _, err := db.PutUser(ctx, ci.User{Name: "Bob"}); err != nil {
			t.Fatal(err)
		}
		users, err := db.Users(ctx)
		if err != nil || len(users) != 2 || users[0].Name != "Bob" {
			t.Errorf("got %v, %v", users, err)
		}
		_, err = db.PutUser(ctx, ci.User{})
		want(t, "a user without a name", err, ci.ErrInvalid)
		_, err = db.User(ctx, "ANN")
		want(t, "a user in other letters", err, ci.ErrNotFound)

		k := ci.Token{ID: "t1", User: "ann", Hash: "h1", Scopes: []string{"read"}, Created: now, Expires: now.Add(time.Hour)}
		if err := db.PutToken(ctx, k); err != nil {
			t.Fatal(err)
		}
		for what, bad := range map[string]ci.Token{"same ID": {ID: "t1", User: "ann", Hash: "h2"}, "same hash": {ID: "t2", User: "ann", Hash: "h1"}} {
			want(t, what, db.PutToken(ctx, bad), ci.ErrConflict)
		}
		want(t, "of nobody", db.PutToken(ctx, ci.Token{ID: "t2", User: "eve", Hash: "h2"}), ci.ErrNotFound)
		want(t, "without a hash", db.PutToken(ctx, ci.Token{ID: "t2", User: "ann"}), ci.ErrInvalid)
		if err := db.TokenUsed(ctx, "t1", now); err != nil {
			t.Fatal(err)
		}
		k.LastUsed = now
		found, err := db.TokenByHash(ctx, "h1")
		if err != nil || !reflect.DeepEqual(found, k) {
			t.Errorf("got %+v, %v; want %+v", found, err, k)
		}
		if list, err := db.Tokens(ctx, "ann"); err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], k) {
			t.Errorf("got %+v, %v", list, err)
		}
		if err := db.DeleteToken(ctx, "t1"); err != nil {
			t.Fatal(err)
		}
		want(t, "use of a deleted token", db.TokenUsed(ctx, "t1", now), ci.ErrNotFound)
		want(t, "delete of a deleted token", db.DeleteToken(ctx, "t1"), ci.ErrNotFound)
		if err := db.PutToken(ctx, k); err != nil {
			t.Fatal(err)
		}
		if err := db.DeleteUser(ctx, "ann"); err != nil {
			t.Fatal(err)
		}
		_, err = db.TokenByHash(ctx, "h1")
		want(t, "a token of a deleted user", err, ci.ErrNotFound)
		want(t, "delete of a deleted user", db.DeleteUser(ctx, "ann"), ci.ErrNotFound)
	})
}

func TestLeases(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		now := time.Unix(1_800_000_000, 0)
		db := openWith(t, url, store.Options{Now: func() time.Time { return now }})
		ctx := t.Context()
		if err := db.Lease(ctx, "b/j", "one", time.Hour); err != nil {
			t.Fatal(err)
		}
		want(t, "while another has it", db.Lease(ctx, "b/j", "two", time.Hour), ci.ErrConflict)
		if err := db.Lease(ctx, "b/j", "one", time.Hour); err != nil {
			t.Errorf("its own again: %v", err)
		}
		list, err := db.Leases(ctx)
		if err != nil || len(list) != 1 || list[0].Owner != "one" || list[0].Left < 59*time.Minute || list[0].Left > time.Hour {
			t.Errorf("got %+v, %v", list, err)
		}
		// Over at once: by whichever clock.
		if err := db.Lease(ctx, "b/j", "one", 0); err != nil {
			t.Fatal(err)
		}
		if err := db.Lease(ctx, "b/j", "two", time.Hour); err != nil {
			t.Errorf("after its time is over: %v", err)
		}
		if err := db.Release(ctx, "b/j", "one"); err != nil {
			t.Fatal(err)
		}
		want(t, "released by one who no longer had it", db.Lease(ctx, "b/j", "one", time.Hour), ci.ErrConflict)
		if err := db.Release(ctx, "b/j", "two"); err != nil {
			t.Fatal(err)
		}
		if err := db.Lease(ctx, "b/j", "one", time.Hour); err != nil {
			t.Errorf("after it was released: %v", err)
		}
		var wg sync.WaitGroup
		won := make([]error, 8)
		for w := range won {
			wg.Go(func() { won[w] = db.Lease(ctx, "b/k", fmt.Sprint("owner", w), time.Hour) })
		}
		wg.Wait()
		winners := 0
		for _, err := range won {
			if err == nil {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d of 8 have the lease", winners)
		}
	})
}
