package api_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// goes gives the numbers of the builds of which a part goes.
func goes(r client.Retained, part string) []int64 {
	for _, g := range r.Goes {
		if g.Part == part {
			return g.Numbers
		}
	}
	return nil
}

func TestRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("web", whole)
	ids := map[int64]string{}
	for n := int64(1); n <= 5; n++ {
		w.start("web", client.StartBuild{})
		ids[n] = w.done("web", n).ID
	}
	show := func() client.Retained {
		t.Helper()
		r, err := w.admin.Retention(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := show(); len(goes(r, "build")) != 0 || r.Limits != (client.Retention{}) {
		t.Errorf("without limits: got %+v", r)
	}
	p.Retention = client.Retention{Builds: -5}
	_, err := w.admin.UpdateProject(t.Context(), p)
	wantError(t, err, 422, "invalid", "builds is -5")
	p.Retention = client.Retention{Builds: 4, ArtifactBuilds: 3, LogBuilds: 2}
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r := show()
	if got := goes(r, "build"); !slices.Equal(got, []int64{1}) {
		t.Errorf("builds: got %v, want 1", got)
	}
	if got := goes(r, "logs"); !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("logs: got %v, want 1 to 3", got)
	}
	if text := w.readLog("web", 1, client.LogOptions{}); text != "hello\n" {
		t.Errorf("the dry run removed: %q", text)
	}
	builder := w.client(w.user(ci.User{Name: "b", Role: ci.RoleBuilder}))
	_, err = builder.ApplyRetention(t.Context(), "web")
	wantError(t, err, 403, "denied", "maintainer")
	if r, err = w.admin.ApplyRetention(t.Context(), "web"); err != nil || !slices.Equal(goes(r, "build"), []int64{1}) || !slices.Equal(goes(r, "artifacts"), []int64{2}) || !slices.Equal(goes(r, "logs"), []int64{2, 3}) {
		t.Fatalf("got %+v, %v; want build 1, artifacts of 2, logs of 2 and 3", r, err)
	}
	_, err = w.admin.Build(t.Context(), "web", 1)
	wantError(t, err, 404, "not_found", "")
	_, err = w.admin.Log(t.Context(), "web", 2, client.LogOptions{})
	wantError(t, err, 404, "not_found", "keeps them no longer")
	_, err = w.admin.StepLog(t.Context(), "web", 3, "build/BUILD/0", client.LogOptions{})
	wantError(t, err, 404, "not_found", "keeps them no longer")
	_, err = w.admin.Lines(t.Context(), "web", 3, client.LineQuery{})
	wantError(t, err, 404, "not_found", "keeps them no longer")
	list, err := w.admin.Artifacts(t.Context(), "web", 2)
	if err != nil || len(list) != 1 || list[0].Expired.IsZero() {
		t.Errorf("got %+v, %v; want one that has expired", list, err)
	}
	_, err = w.admin.OpenArtifact(t.Context(), "web", 2, "build/results/out.txt")
	wantError(t, err, 404, "not_found", "keeps them no longer")
	_, err = w.admin.Archive(t.Context(), "web", 2, "zip")
	wantError(t, err, 404, "not_found", "keeps them no longer")
	if f, err := w.admin.OpenArtifact(t.Context(), "web", 3, "build/results/out.txt"); err != nil {
		t.Errorf("of a build whose logs went: %v", err)
	} else {
		_ = f.Close()
	}
	if text := w.readLog("web", 4, client.LogOptions{}); text != "hello\n" {
		t.Errorf("got %q", text)
	}
	for n, want := range map[int64]bool{1: false, 2: false, 3: true, 5: true} {
		if _, err := os.Stat(filepath.Join(w.dir, "out", ids[n])); (err == nil) != want {
			t.Errorf("artifacts of build %d: %v", n, err)
		}
	}
	for n, want := range map[int64]bool{1: false, 2: false, 3: false, 4: true} {
		if _, err := os.Stat(filepath.Join(w.dir, "logs", ids[n])); (err == nil) != want {
			t.Errorf("logs of build %d: %v", n, err)
		}
	}
	seen := 0
	for _, e := range w.audit() {
		if e.Verb == "build.expire" && e.Project == "web" {
			seen++
		}
	}
	if seen != 3 {
		t.Errorf("the audit has %d entries about it, want 3: %+v", seen, w.audit())
	}
}

// TestRetentionKilled has the server killed after each of the steps of a removal:
// the next sweep leaves nothing of it.
func TestRetentionKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("web", whole)
	for n := int64(1); n <= 3; n++ {
		w.start("web", client.StartBuild{})
		w.done("web", n)
	}
	first, err := w.admin.Build(t.Context(), "web", 1)
	if err != nil {
		t.Fatal(err)
	}
	// Killed when the rows are gone, and nothing else is.
	if gone, err := w.store.Expire(t.Context(), ci.PartBuild, []ci.BuildID{ci.BuildID(first.ID)}); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "logs", first.ID)); err != nil {
		t.Fatal(err)
	}
	// Killed when the logs are gone, and that is not written down.
	second, err := w.admin.Build(t.Context(), "web", 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Expire(t.Context(), ci.PartLogs, []ci.BuildID{ci.BuildID(second.ID)}); err != nil {
		t.Fatal(err)
	}
	if err := w.logs.Remove(ci.BuildID(second.ID)); err != nil {
		t.Fatal(err)
	}
	p.Retention = client.Retention{Builds: 1}
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.app.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"logs", "out"} {
		left, err := os.ReadDir(filepath.Join(w.dir, dir))
		if err != nil {
			t.Fatal(err)
		}
		builds := 0
		for _, e := range left {
			if e.Name() != ".sealed" {
				builds++
			}
		}
		if builds != 1 {
			t.Errorf("%s: %d builds are left, want one: %v", dir, builds, left)
		}
	}
	if left, err := w.store.Discards(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("still to be removed: %v, %v", left, err)
	}
	page, err := w.admin.Builds(t.Context(), client.BuildFilter{Project: "web"})
	if err != nil || len(page.Items) != 1 || page.Items[0].Number != 3 {
		t.Errorf("got %+v, %v; want build 3 alone", page.Items, err)
	}
}
