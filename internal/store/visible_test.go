package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// replica is another server's look at the database, where there can be two.
func replica(t *testing.T, db *store.DB, url string) *store.DB {
	t.Helper()
	if strings.HasPrefix(url, "postgres") {
		return openURL(t, url)
	}
	return db
}

// TestHolder looks tokens up with their users, and sees each change at once.
func TestHolder(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		other := replica(t, db, url)
		ctx := t.Context()
		put := func(u ci.User) {
			t.Helper()
			if _, err := db.PutUser(ctx, u); err != nil {
				t.Fatal(err)
			}
		}
		put(ci.User{Name: "ann", Role: ci.RoleViewer, Password: "hashed"})
		now := time.Unix(1_800_000_000, 0).UTC()
		if err := db.PutToken(ctx, ci.Token{ID: "t1", User: "ann", Hash: "h1", Scopes: []string{"role:viewer"}, Expires: now}); err != nil {
			t.Fatal(err)
		}
		k, u, err := other.Holder(ctx, "h1")
		if err != nil || k.ID != "t1" || k.Hash != "h1" || !k.Expires.Equal(now) || u.Name != "ann" || u.Role != ci.RoleViewer || u.Password != "hashed" {
			t.Errorf("got %+v, %+v, %v", k, u, err)
		}
		put(ci.User{Name: "ann", Role: ci.RoleAdmin, Disabled: true})
		if _, u, err := other.Holder(ctx, "h1"); err != nil || u.Role != ci.RoleAdmin || !u.Disabled {
			t.Errorf("changed: got %+v, %v", u, err)
		}
		_, _, err = other.Holder(ctx, "h2")
		want(t, "another hash", err, ci.ErrNotFound)
		if err := db.DeleteUser(ctx, "ann"); err != nil {
			t.Fatal(err)
		}
		_, _, err = other.Holder(ctx, "h1")
		want(t, "of a deleted user", err, ci.ErrNotFound)
	})
}

// TestProjectsNamed looks at many projects, and sees each change at once, also
// one that gives a project the revision that it had before.
func TestProjectsNamed(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		other := replica(t, db, url)
		ctx := t.Context()
		var names []string
		for i := range 120 {
			name := fmt.Sprintf("project-%d", i)
			names = append(names, name)
			if _, err := db.PutProject(ctx, ci.Project{Name: name, Private: i%2 == 0}); err != nil {
				t.Fatal(err)
			}
		}
		look := func() map[string]ci.Project {
			t.Helper()
			got, err := other.ProjectsNamed(ctx, append(names, "missing", "it's \x00"))
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for range 2 {
			got := look()
			if keys := slices.Sorted(maps.Keys(got)); len(keys) != 120 || !got["project-0"].Private || got["project-1"].Private || got["project-119"].Name != "project-119" {
				t.Fatalf("got %d projects: %v", len(keys), got["project-0"])
			}
		}
		if err := db.DeleteProject(ctx, "project-0", false); err != nil {
			t.Fatal(err)
		}
		if _, ok := look()["project-0"]; ok {
			t.Error("a deleted project is still there")
		}
		if p, err := db.PutProject(ctx, ci.Project{Name: "project-0"}); err != nil || p.Revision != 1 {
			t.Fatal(p, err)
		}
		if p, ok := look()["project-0"]; !ok || p.Private {
			t.Errorf("made anew: got %+v, %v", p, ok)
		}
		if got, err := other.ProjectsNamed(ctx, nil); err != nil || len(got) != 0 {
			t.Errorf("no names: got %v, %v", got, err)
		}
	})
}
