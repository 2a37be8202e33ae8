package app

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func TestDiscreet(t *testing.T) {
	t.Parallel()
	db, err := store.OpenDB(t.Context(), filepath.Join(t.TempDir(), "sluice.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, p := range []ci.Project{{Name: "web"}, {Name: "hidden", Private: true}, {Name: "other", Private: true}} {
		if _, err := db.PutProject(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	a := New(Config{Store: db})
	as := func(u ci.User) context.Context { return ci.WithUser(t.Context(), u) }
	viewer, admin := as(ci.User{Role: ci.RoleViewer}), as(ci.User{Role: ci.RoleAdmin})
	member := as(ci.User{Projects: map[string]ci.Role{"hidden": ci.RoleViewer}})
	const text = "waiting for memory: 7.0 GiB of 8.0 GiB in use by hidden #3, other #4, web #1, 2 more (place 1)"
	for _, c := range []struct {
		name       string
		ctx        context.Context
		text, want string
	}{
		{"admin", admin, text, text},
		{"viewer", viewer, text, "waiting for memory: 7.0 GiB of 8.0 GiB in use by a build of another project, web #1, 2 more (place 1)"},
		{"member", member, text, "waiting for memory: 7.0 GiB of 8.0 GiB in use by hidden #3, a build of another project, 2 more (place 1)"},
		{"no place", viewer, "4 of 4 in use by gone #7", "4 of 4 in use by a build of another project"},
		{"no names", viewer, "3 jobs running", "3 jobs running"},
		{"nothing", viewer, "", ""},
	} {
		if got, err := a.discreet(c.ctx, c.text); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	e := ci.Event{}.Because(ci.Decision{Waits: []ci.Wait{{For: "memory", Detail: text}}})
	if got := a.discreetly(viewer, e); got.Why.Waits[0].Detail == text || e.Why.Waits[0].Detail != text {
		t.Errorf("got %q from %q", got.Why.Waits[0].Detail, e.Why.Waits[0].Detail)
	}
	if _, err := a.discreet(t.Context(), text); err == nil {
		t.Error("nobody asked, and was answered")
	}
}
