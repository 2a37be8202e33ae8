package api_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

func TestProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	git := client.Source{Type: "git", Location: "https://example.com/x.git"}
	p, err := w.admin.CreateProject(ctx, client.Project{Name: "web", Source: git, Tags: map[string]string{"team": "a"}, Revision: 9})
	if err != nil || p.Revision != 1 || p.Created.IsZero() {
		t.Fatalf("got %+v, %v; want revision 1", p, err)
	}
	_, err = w.admin.CreateProject(ctx, client.Project{Name: "web", Source: git})
	wantError(t, err, 409, "conflict", "there is one of that name")
	p.Description = "first"
	second, err := w.admin.UpdateProject(ctx, p)
	if err != nil || second.Revision != 2 || second.Description != "first" || second.Tags["team"] != "a" || !second.Created.Equal(p.Created) {
		t.Fatalf("got %+v, %v; want revision 2", second, err)
	}
	p.Description = "lost"
	_, err = w.admin.UpdateProject(ctx, p)
	wantError(t, err, 412, "changed", "revision 1")
	wantError(t, w.admin.DeleteProject(ctx, "web", 1, false), 412, "changed", "revision 1")
	p.Revision = 0
	if third, err := w.admin.UpdateProject(ctx, p); err != nil || third.Revision != 3 {
		t.Errorf("without a revision: got %+v, %v; want it put over what is there", third, err)
	}
	status, h, _ := w.raw("GET", "/api/v1/projects/web", w.token, "")
	if status != 200 || h.Get("ETag") != `"3"` {
		t.Errorf("got %d and ETag %s, want \"3\"", status, h.Get("ETag"))
	}
	status, _, _ = w.raw("PUT", "/api/v1/projects/web", w.token, `{}`, "If-Match", "rubbish")
	if status != 412 {
		t.Errorf("rubbish in If-Match: got %d, want 412", status)
	}
	if err := w.admin.DeleteProject(ctx, "web", 3, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.Project(ctx, "web"); !client.IsNotFound(err) {
		t.Errorf("got %v, want it gone", err)
	}
}

func TestProjectPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("p%d", i)
		want = append(want, name)
		if _, err := w.admin.CreateProject(t.Context(), client.Project{Name: name, Source: client.Source{Type: "git", Location: "x"}, Private: i%2 == 1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		c    *client.Client
		want []string
	}{
		{"all", w.admin, want},
		{"those that are not private", w.client(w.user(viewer())), []string{"p0", "p2", "p4", "p6"}},
	} {
		for limit := 1; limit < 9; limit++ {
			var got []string
			p := client.Paging{Limit: limit}
			for {
				page, err := c.c.Projects(t.Context(), "p", p)
				if err != nil || len(page.Items) > limit {
					t.Fatalf("got %d, %v; want at most %d", len(page.Items), err, limit)
				}
				for _, i := range page.Items {
					got = append(got, i.Name)
				}
				if p.After = page.Next; p.After == "" {
					break
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s by %d: got %v, want %v", c.name, limit, got, c.want)
			}
		}
	}
}

// TestAllThatIsWrong has a project with everything wrong, and everything named.
func TestAllThatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tags := map[string]string{}
	for i := range 51 {
		tags[fmt.Sprint(i)] = ""
	}
	_, err := w.admin.CreateProject(t.Context(), client.Project{
		Name: "x/y", Description: strings.Repeat("d", 256), Source: client.Source{Type: "cvs", Version: "a b"}, File: "/etc/passwd",
		Runtime: client.Runtime{Executor: "x", Isolation: "y", Image: "a b", Dockerfile: "../D", CPUs: -1, Memory: -1, Processes: -1},
		Limits:  client.Limits{Timeout: -1, Jobs: -1, Builds: 1e6, Queue: 1}, Artifacts: "rar", Tags: tags,
		Variables: []client.Variable{{Name: "", Value: "a\x00"}},
	})
	e := wantError(t, err, 422, "invalid", "project name")
	var got []string
	for _, f := range e.Fields {
		got = append(got, strings.TrimPrefix(f.Field, "body."))
		if f.Message == "" {
			t.Errorf("%s: nothing is said", f.Field)
		}
	}
	want := []string{
		"name", "description", "source.type", "source.location", "source.version", "file",
		"runtime.executor", "runtime.isolation", "runtime.image", "runtime.dockerfile", "runtime.cpus", "runtime.memory", "runtime.processes",
		"variables[0].name", "variables[0].value", "limits.timeout", "limits.queue", "limits.jobs", "limits.builds", "artifacts", "tags",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got fields\n%q, want\n%q", got, want)
	}
}

func TestDeleteProjectWithBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", "phases: {build: {commands: ['echo begun', 'wait gate']}}\n")
	w.start("web", client.StartBuild{})
	w.start("web", client.StartBuild{})
	<-w.script.Reached("gate")
	wantError(t, w.admin.DeleteProject(t.Context(), "web", 0, false), 409, "conflict", "stop them first")
	if err := w.admin.DeleteProject(t.Context(), "web", 0, true); err != nil {
		t.Fatal(err)
	}
	_, err := w.admin.Build(t.Context(), "web", 1)
	wantError(t, err, 404, "not_found", "web")
	page, err := w.admin.Builds(t.Context(), client.BuildFilter{})
	if text, _ := json.Marshal(page.Items); err != nil || string(text) != "[]" {
		t.Errorf("got builds %s, %v; want none", text, err)
	}
	// Numbers go on, so that what was said of build 1 is never true of another.
	w.project("web", "phases: {build: {commands: ['echo again']}}\n")
	if b := w.start("web", client.StartBuild{}); b.Number != 3 {
		t.Errorf("got number %d, want 3", b.Number)
	}
	w.done("web", 3)
}
