package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// play takes a build from queued to a status.
func play(t *testing.T, db *store.DB, b ci.Build, to ci.Status) {
	t.Helper()
	b, _, err := db.Create(t.Context(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	b.Status = ci.Running
	events := []ci.Event{ci.NewEvent(ci.EventBuildStarted, b)}
	if to != ci.Running {
		b.Status = to
		events = append(events, ci.NewEvent(ci.EventBuildFinished, b))
	}
	for _, e := range events {
		if err := db.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSequels has what comes of builds stored with their transitions.
func TestSequels(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		for _, p := range []ci.Project{{Name: "lib"}, {Name: "web", After: []string{"lib"}}, {Name: "app", After: []string{"lib", "web"}}} {
			if _, err := db.PutProject(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		retry, both := ci.Limits{AutoRetry: 2}, ci.Limits{AutoRetry: 1, Supersede: ci.SupersedeAll}
		before := db.SequelsNoted()
		play(t, db, ci.Build{ID: "b1", Project: "lib"}, ci.Succeeded)
		play(t, db, ci.Build{ID: "b2", Project: "lib", Limits: retry}, ci.Failed)
		play(t, db, ci.Build{ID: "b3", Project: "lib", Limits: retry, Attempt: 2}, ci.Failed)
		play(t, db, ci.Build{ID: "b4", Project: "web", Limits: both}, ci.Errored)
		play(t, db, ci.Build{ID: "b5", Project: "web", Limits: retry}, ci.Canceled)
		play(t, db, ci.Build{ID: "b6", Project: "web", Limits: retry}, ci.TimedOut)
		play(t, db, ci.Build{ID: "b7", Project: "app", Limits: both}, ci.Running)
		got := func() string {
			t.Helper()
			list, err := db.Sequels(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var text []string
			for _, s := range list {
				text = append(text, strings.TrimSpace(string(s.Build)+" "+string(s.Kind)+" "+s.Project))
			}
			return strings.Join(text, ", ")
		}
		const want = "b1 after app, b1 after web, b2 retry, b4 supersede, b4 retry, b7 supersede"
		if got() != want {
			t.Errorf("got %q, want %q", got(), want)
		}
		if db.SequelsNoted() == before {
			t.Error("nobody would look")
		}
		list, err := db.Sequels(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list[:2] {
			if err := errors.Join(db.SequelDone(t.Context(), s.ID), db.SequelDone(t.Context(), s.ID)); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.DeleteBuild(t.Context(), "b2"); err != nil {
			t.Fatal(err)
		}
		if want := "b4 supersede, b4 retry, b7 supersede"; got() != want {
			t.Errorf("then: got %q, want %q", got(), want)
		}
	})
}

func TestProjectsAfterProjects(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		put := func(name string, after ...string) (ci.Project, error) {
			old, err := db.Project(ctx, name)
			if err != nil && !errors.Is(err, ci.ErrNotFound) {
				t.Fatal(err)
			}
			return db.PutProject(ctx, ci.Project{Name: name, Revision: old.Revision, After: after})
		}
		for _, after := range [][]string{{"a1"}, {"b1", "a1"}, {"c1", "b1", "a1"}} {
			if _, err := put(after[0], after[1:]...); err != nil {
				t.Fatal(err)
			}
		}
		_, err := put("a1", "c1")
		want(t, "a circle", err, ci.ErrInvalid)
		if !strings.Contains(err.Error(), "c1 after") {
			t.Errorf("the circle is not told: %v", err)
		}
		if p, err := db.Project(ctx, "a1"); err != nil || len(p.After) != 0 {
			t.Errorf("what was refused is stored: %+v, %v", p, err)
		}
		err = db.DeleteProject(ctx, "a1", true)
		want(t, "delete of what others come after", err, ci.ErrConflict)
		if !strings.Contains(err.Error(), "b1, c1 is built after it") {
			t.Errorf("got %v", err)
		}
		for _, name := range []string{"b1", "c1"} {
			if _, err := put(name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := put("a1", "c1"); err != nil {
			t.Errorf("no circle any more: %v", err)
		}
	})
}

func TestFullProjectRefuses(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		limits := ci.Limits{Builds: 2, WhenFull: ci.WhenFullRefuse}
		play(t, db, ci.Build{ID: "a", Project: "shop", Limits: limits}, ci.Running)
		play(t, db, ci.Build{ID: "b", Project: "shop", Limits: limits}, ci.Succeeded)
		play(t, db, ci.Build{ID: "c", Project: "shop", Limits: limits}, ci.Running)
		_, _, err := db.Create(t.Context(), ci.Build{ID: "d", Project: "shop", Limits: limits}, "")
		var full *ci.NoRoom
		if !errors.As(err, &full) || full.Builds != 2 || !errors.Is(err, ci.ErrConflict) {
			t.Errorf("got %v", err)
		}
		play(t, db, ci.Build{ID: "e", Project: "other", Limits: limits}, ci.Running)
	})
}
