package store_test

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestUploadNeeded(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		if _, err := db.PutProject(ctx, ci.Project{Name: "app"}); err != nil {
			t.Fatal(err)
		}
		check := func(when string, want bool) {
			t.Helper()
			if got, err := db.UploadNeeded(ctx, "app/1"); err != nil || got != want {
				t.Errorf("%s: got %v, %v", when, got, err)
			}
		}
		source := ci.Source{Type: "upload", Location: "app/1"}
		check("before", false)
		for _, id := range []ci.BuildID{"a", "b"} {
			if _, _, err := db.Create(ctx, ci.Build{ID: id, Project: "app", Source: source}, ""); err != nil {
				t.Fatal(err)
			}
			if err := db.Append(ctx, ci.NewEvent(ci.EventCancel, ci.Build{ID: id, Project: "app", Source: source, Status: ci.Canceled})); err != nil {
				t.Fatal(err)
			}
		}
		check("of two builds", true)
		if err := db.DeleteBuild(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		check("one is deleted", true)
		if err := db.DeleteProject(ctx, "app", false); err != nil {
			t.Fatal(err)
		}
		check("the project is deleted", false)
	})
}
