package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// waitMost is the patience of a test with a busy machine.
const waitMost = 60 * time.Second

// until waits for a build of a project that may not be there yet.
func (w *world) until(project string, number int64) client.Build {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), waitMost)
	defer stop()
	for {
		changed := w.store.Changed()
		if _, err := w.admin.Build(ctx, project, number); err == nil {
			return w.done(project, number)
		} else if !client.IsNotFound(err) {
			w.t.Fatal(err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("build %s/%d never came", project, number)
		}
	}
}

func (w *world) update(p client.Project) client.Project {
	w.t.Helper()
	p, err := w.admin.UpdateProject(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestAutomaticRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("app", "phases: {build: {commands: [exit 3]}}")
	p.Limits.AutoRetry = 2
	w.update(p)
	w.start("app", client.StartBuild{Variables: []client.Variable{{Name: "A", Value: "1"}}})
	last := w.until("app", 3)
	if last.Status != client.Failed || last.Attempt != 2 || last.Retry != 0 || len(last.Variables) != 1 || last.Initiator != "admin" {
		t.Errorf("got %+v", last)
	}
	first, second := w.done("app", 1), w.done("app", 2)
	if first.Retry != 2 || second.Retry != 3 || second.RetryOf != first.ID || last.RetryOf != second.ID {
		t.Errorf("got links %d, %d, %s of %s, %s of %s", first.Retry, second.Retry, second.RetryOf, first.ID, last.RetryOf, second.ID)
	}
	// What does not compile would not compile again.
	w.project("broken", "phases: {")
	w.start("broken", client.StartBuild{Limits: client.Limits{AutoRetry: 5}})
	w.done("broken", 1)
	// What somebody stopped, he does not want again.
	w.project("long", "phases: {build: {commands: [hang]}}")
	b := w.start("long", client.StartBuild{Limits: client.Limits{AutoRetry: 5}})
	if _, err := w.admin.StopBuild(t.Context(), "long", b.Number); err != nil {
		t.Fatal(err)
	}
	w.done("long", 1)
	w.settled()
	for _, name := range []string{"app", "broken", "long"} {
		page, err := w.admin.Builds(t.Context(), client.BuildFilter{Project: name})
		if want := map[string]int{"app": 3, "broken": 1, "long": 1}[name]; err != nil || len(page.Items) != want {
			t.Errorf("%s: got %d builds, %v; want %d", name, len(page.Items), err, want)
		}
	}
	p.Limits = client.Limits{AutoRetry: 11, Supersede: "some", WhenFull: "refuse"}
	_, err := w.admin.UpdateProject(t.Context(), p)
	wantError(t, err, 422, "invalid", "body.limits.autoRetry: want 0 to 10")
	for _, text := range []string{"body.limits.supersede", "body.limits.whenFull"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not name %s", err, text)
		}
	}
}

// settled waits until nothing is left to come of builds.
func (w *world) settled() {
	w.t.Helper()
	for {
		changed := w.store.Changed()
		list, err := w.store.Sequels(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		<-changed
	}
}

func TestProjectsAreBuiltAfterOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("lib", "env: {exported-variables: [VERSION]}\nphases: {build: {commands: ['export VERSION=7', echo lib]}}")
	app := w.project("app", "phases: {build: {commands: [echo]}}")
	app.After = []string{"lib"}
	w.update(app)
	end := w.project("end", "phases: {build: {commands: [exit 1]}}")
	end.After = []string{"app", "lib"}
	w.update(end)
	lib := w.start("lib", client.StartBuild{})
	b := w.until("app", 1)
	if b.After == nil || b.After.ID != lib.ID || b.After.Project != "lib" || b.After.Number != 1 || b.Initiator != "lib/1" {
		t.Errorf("got %+v, %+v", b.After, b)
	}
	given := map[string]string{}
	for _, v := range b.Variables {
		given[v.Name] = v.Value
	}
	if given["SLUICE_UPSTREAM_PROJECT"] != "lib" || given["SLUICE_UPSTREAM_BUILD"] != "1" {
		t.Errorf("got %v", given)
	}
	w.until("end", 1)
	w.until("end", 2)
	w.settled()
	if page, err := w.admin.Builds(t.Context(), client.BuildFilter{Project: "end"}); err != nil || len(page.Items) != 2 {
		t.Errorf("got %d builds, %v", len(page.Items), err)
	}
	lp, err := w.admin.Project(t.Context(), "lib")
	if err != nil {
		t.Fatal(err)
	}
	lp.After = []string{"end", "lib", "no", "end", "nowhere"}
	_, err = w.admin.UpdateProject(t.Context(), lp)
	wantError(t, err, 422, "invalid", "body.after[1]: a project cannot be built after itself")
	lp.After = []string{"end", "nowhere"}
	_, err = w.admin.UpdateProject(t.Context(), lp)
	wantError(t, err, 422, "invalid", `body.after[1]: there is no project "nowhere"`)
	lp.After = []string{"end"}
	_, err = w.admin.UpdateProject(t.Context(), lp)
	wantError(t, err, 422, "invalid", "body.after: store project \"lib\": it would be built after itself: ")
	wantError(t, w.admin.DeleteProject(t.Context(), "lib", 0, false), 409, "conflict", "app, end is built after it")
	// What one may not see, one cannot listen to.
	hidden := w.project("hidden", "phases: {}")
	hidden.Private = true
	w.update(hidden)
	meg := w.client(w.user(ci.User{Name: "meg", Role: ci.RoleMaintainer}))
	lp.After = []string{"hidden"}
	_, err = meg.UpdateProject(t.Context(), lp)
	wantError(t, err, 422, "invalid", `there is no project "hidden"`)
}

func TestNewerBuildsSupersedeOlder(t *testing.T) {
	t.Parallel()
	for mode, first := range map[string]string{"queued": client.Running, "all": client.Canceled} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.project("app", "phases: {build: {commands: [hang]}}")
			p.Limits = client.Limits{Builds: 1, Supersede: mode}
			w.update(p)
			w.start("app", client.StartBuild{})
			w.began("app", 1)
			w.start("app", client.StartBuild{})
			if mode == "queued" {
				w.start("app", client.StartBuild{})
				if b := w.done("app", 2); b.Status != client.Canceled || b.Reason != "superseded by a newer build: app #3" {
					t.Errorf("got %s: %s", b.Status, b.Reason)
				}
				w.settled()
			} else if b := w.done("app", 1); !strings.Contains(b.Reason, "superseded by a newer build: app #2") {
				t.Errorf("got %s: %s", b.Status, b.Reason)
			}
			if b, err := w.admin.Build(t.Context(), "app", 1); err != nil || b.Status != first {
				t.Errorf("the first: got %s, %v; want %s", b.Status, err, first)
			}
		})
	}
}

// began waits until a command of a build runs.
func (w *world) began(project string, number int64) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), waitMost)
	defer stop()
	begun := false
	_ = w.admin.Events(ctx, project, number, 0, func(e client.Event) error {
		if begun = e.Type == string(ci.EventStepStarted) && strings.Contains(e.Step, "/BUILD/"); begun {
			stop()
		}
		return nil
	})
	if !begun {
		w.t.Fatalf("%s/%d never began", project, number)
	}
}

func TestFullProjectRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("app", "phases: {build: {commands: [hang]}}")
	p.Limits = client.Limits{Builds: 1, WhenFull: "refuse"}
	w.update(p)
	w.start("app", client.StartBuild{})
	_, _, err := w.admin.StartBuild(t.Context(), "app", client.StartBuild{})
	wantError(t, err, 409, "project_full", "1 of its builds are not done")
	if _, err := w.admin.StopBuild(t.Context(), "app", 1); err != nil {
		t.Fatal(err)
	}
	w.done("app", 1)
	w.start("app", client.StartBuild{})
}
