package api_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// TestUsageIsOfOwnProjects meters two projects and asks as several people.
func TestUsageIsOfOwnProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"gone", "hidden", "web"} {
		p := w.project(name, whole)
		p.Private = name == "hidden"
		if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		w.start(name, client.StartBuild{})
		w.done(name, 1)
	}
	if err := w.admin.DeleteProject(t.Context(), "gone", 0, true); err != nil {
		t.Fatal(err)
	}
	ask := func(c *client.Client, f client.UsageFilter) []string {
		t.Helper()
		names := []string{}
		for {
			page, err := c.Usage(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Items {
				names = append(names, r.Project)
				if r.Minutes != 1 || r.Jobs != 1 || r.Builds != 1 || r.User != "admin" {
					t.Errorf("got %+v, want one minute by admin", r)
				}
			}
			if f.After = page.Next; f.After == "" {
				return names
			}
		}
	}
	all := client.UsageFilter{By: []string{"project", "user"}, Paging: client.Paging{Limit: 1}}
	viewer := w.client(w.user(ci.User{Name: "v", Role: ci.RoleViewer}))
	member := w.client(w.user(ci.User{Name: "m", Projects: map[string]ci.Role{"hidden": ci.RoleViewer}}))
	nobody := w.client(w.user(ci.User{Name: "n"}))
	for name, c := range map[string]struct {
		asks *client.Client
		want []string
	}{
		"admin": {w.admin, []string{"gone", "hidden", "web"}}, "viewer": {viewer, []string{"web"}}, "member": {member, []string{"hidden"}}, "nobody": {nobody, []string{}},
	} {
		if got := ask(c.asks, all); !slices.Equal(got, c.want) {
			t.Errorf("%s: got usage of %v, want %v", name, got, c.want)
		}
	}
	_, err := viewer.Usage(t.Context(), client.UsageFilter{Project: "hidden"})
	wantError(t, err, 404, "not_found", "hidden")
	_, err = w.admin.Usage(t.Context(), client.UsageFilter{By: []string{"colour"}})
	wantError(t, err, 422, "invalid", "by")
	status, _, body := w.raw("GET", "/api/v1/usage?since=2026-13-01", w.token, "")
	if status != 422 {
		t.Errorf("a day that is none: got %d %s", status, body)
	}
	// Tomorrow nothing was used yet, and before today nothing either.
	for _, f := range []client.UsageFilter{{By: all.By, Since: time.Now().AddDate(0, 0, 2)}, {By: all.By, Until: time.Now().AddDate(0, 0, -1)}} {
		if got := ask(w.admin, f); len(got) != 0 {
			t.Errorf("got %v, want nothing", got)
		}
	}
	b, err := w.admin.Build(t.Context(), "web", 1)
	if err != nil || b.Jobs[0].Charge == nil || b.Jobs[0].Charge.Billed != 60 || b.Jobs[0].Charge.Seconds < 1 {
		t.Errorf("got charge %+v, %v; want a minute", b.Jobs[0].Charge, err)
	}
	if added, err := w.admin.RebuildUsage(t.Context()); err != nil || added != 0 {
		t.Errorf("rebuild: got %d, %v", added, err)
	}
}
