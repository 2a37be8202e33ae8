package api_test

import (
	"testing"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestLoadShowsOwnProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const held = "phases: {build: {commands: ['wait gate']}}\n"
	p := w.project("hidden", held)
	p.Private = true
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.project("web", held)
	w.start("hidden", client.StartBuild{})
	w.start("web", client.StartBuild{})
	for ready := false; !ready; { // until both run
		l, err := w.admin.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ready = len(l.Running) == 2 && len(l.Projects) == 2
	}
	viewer := w.client(w.user(ci.User{Name: "v", Role: ci.RoleViewer}))
	l, err := viewer.Load(t.Context())
	if err != nil || len(l.Running) != 1 || l.Running[0].Project != "web" || l.Running[0].Number != 1 || l.Running[0].Job != "build" || len(l.Projects) != 1 || l.Others.Running != 1 {
		t.Errorf("got %+v, %v; want the build of web, and one that is not to be seen", l, err)
	}
	stranger := w.client(w.user(ci.User{Name: "s"}))
	if l, err := stranger.Load(t.Context()); err != nil || len(l.Running) != 0 || l.Others.Running != 2 {
		t.Errorf("got %+v, %v; want two that are not to be seen", l, err)
	}
	w.script.Release("gate")
	w.done("web", 1)
	w.done("hidden", 1)
}
