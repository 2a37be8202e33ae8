package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

const twoCommands = "phases: {install: {commands: ['echo one']}, build: {commands: ['echo two $WORD', 'printf three']}}\n"

// TestFromProjectToLog is the way that everybody goes.
func TestFromProjectToLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", twoCommands)
	b := w.start("web", client.StartBuild{Variables: []client.Variable{{Name: "WORD", Value: "hello"}}})
	if b.Number != 1 || b.Project != "web" || b.Initiator != "admin" || b.Status != client.Queued {
		t.Errorf("got build %+v, want number 1 of web by admin, queued", b)
	}
	var types []string
	var last int64
	err := w.admin.Events(t.Context(), "web", 1, 0, func(e client.Event) error {
		if e.Seq != last+1 {
			t.Errorf("got event %d after %d", e.Seq, last)
		}
		last = e.Seq
		types = append(types, e.Type)
		return nil
	})
	if err != nil || types[0] != "build_queued" || types[len(types)-1] != "build_finished" {
		t.Errorf("got events %v, %v; want build_queued to build_finished", types, err)
	}
	b, err = w.admin.Build(t.Context(), "web", 1)
	if err != nil || b.Status != client.Succeeded || len(b.Jobs) != 1 || len(b.Jobs[0].Steps) == 0 || len(b.Plan) == 0 {
		t.Fatalf("got %+v, %v; want it to have succeeded, with job, steps and plan", b, err)
	}
	if got, want := w.readLog("web", 1, client.LogOptions{}), "one\ntwo hello\nthree"; got != want {
		t.Errorf("got log %q, want %q", got, want)
	}
	if got, want := w.readLog("web", 1, client.LogOptions{From: 8}), "hello\nthree"; got != want {
		t.Errorf("got log from byte 8 %q, want %q", got, want)
	}
	all := w.readLog("web", 1, client.LogOptions{All: true})
	for _, want := range []string{"=== BUILD\n", "$ echo one\none\n", "three\n=== POST_BUILD\n", "=== succeeded\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("the whole log lacks %q:\n%s", want, all)
		}
	}
	// Followed, it is the same to the byte, from any byte on.
	for _, from := range []int64{0, 5, int64(len(all)) - 3} {
		if got := w.readLog("web", 1, client.LogOptions{All: true, Follow: true, From: from}); got != all[from:] {
			t.Errorf("followed from byte %d: got %q, want %q", from, got, all[from:])
		}
		if got := w.readLog("web", 1, client.LogOptions{All: true, From: from}); got != all[from:] {
			t.Errorf("from byte %d: got %q, want %q", from, got, all[from:])
		}
	}
}

func TestStepsAndTheirLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", twoCommands)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	jobs, err := w.admin.Steps(t.Context(), "web", 1)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("got %v, %v; want one job", jobs, err)
	}
	var paths []string
	for _, phase := range jobs[0].Steps {
		for _, s := range phase.Steps {
			if s.Kind == "command" {
				paths = append(paths, s.Path)
				if s.Log == nil || !s.Log.Sealed || s.Log.Size == 0 {
					t.Errorf("step %s has log %+v, want one that is sealed and not empty", s.Path, s.Log)
				}
			}
		}
	}
	want := []string{"build/INSTALL/0", "build/BUILD/0", "build/BUILD/1"}
	if !slices.Equal(paths, want) {
		t.Fatalf("got commands %v, want %v", paths, want)
	}
	r, err := w.admin.StepLog(t.Context(), "web", 1, paths[1], client.LogOptions{Follow: true, From: 1})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, _ := r.Read(buf)
	if got := string(buf[:n]); got != "wo\n" {
		t.Errorf("got %q, want %q", got, "wo\n")
	}
	status, h, body := w.raw("GET", "/api/v1/projects/web/builds/1/log/build/BUILD/1", w.token, "", "Range", "bytes=1-2")
	if status != 206 || body != "hr" || h.Get("Content-Range") != "bytes 1-2/5" || h.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %d %q %v, want bytes 1 and 2 of 5", status, body, h)
	}
	_, err = w.admin.StepLog(t.Context(), "web", 1, "build/BUILD/7", client.LogOptions{})
	wantError(t, err, 404, "not_found", "build/BUILD/7")
}

// TestFollowWhileItRuns reads what a command prints while the command waits, so
// that nothing of it can come from a look at the end.
func TestFollowWhileItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", "phases: {build: {commands: ['echo one; wait gate; echo two', 'echo three']}}\n")
	w.start("web", client.StartBuild{})
	r, err := w.admin.Log(t.Context(), "web", 1, client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := ""
	buf := make([]byte, 100)
	for got != "one\n" {
		n, err := r.Read(buf)
		if got += string(buf[:n]); err != nil || len(got) > 4 {
			t.Fatalf("got %q, %v; want one", got, err)
		}
	}
	b, err := w.admin.Build(t.Context(), "web", 1)
	if err != nil || b.Status != client.Running {
		t.Fatalf("got %s, %v; want running", b.Status, err)
	}
	w.script.Release("gate")
	for err == nil {
		var n int
		n, err = r.Read(buf)
		got += string(buf[:n])
	}
	if want := "one\ntwo\nthree\n"; got != want || err.Error() != "EOF" {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestStopRetryDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", "phases: {build: {commands: ['echo begun; wait gate; echo $WORD']}}\n")
	ctx := t.Context()
	w.start("web", client.StartBuild{Variables: []client.Variable{{Name: "WORD", Value: "x"}}})
	<-w.script.Reached("gate")
	wantError(t, w.admin.DeleteBuild(ctx, "web", 1), 409, "conflict", "stop it first")
	_, _, err := w.admin.RetryBuild(ctx, "web", 1, client.RetryOptions{})
	wantError(t, err, 409, "conflict", "wait for its end")
	if _, err := w.admin.StopBuild(ctx, "web", 1); err != nil {
		t.Fatal(err)
	}
	if b := w.done("web", 1); b.Status != client.Canceled {
		t.Fatalf("got %s, want canceled", b.Status)
	}
	if b, err := w.admin.StopBuild(ctx, "web", 1); err != nil || b.Status != client.Canceled {
		t.Errorf("stopped again: got %s, %v; want it as it is", b.Status, err)
	}
	w.script.Release("gate")
	again, made, err := w.admin.RetryBuild(ctx, "web", 1, client.RetryOptions{Key: "key"})
	if err != nil || !made || again.Number != 2 || again.RetryOf == "" {
		t.Fatalf("got %+v, made %v, %v; want build 2 for the first", again, made, err)
	}
	same, made, err := w.admin.RetryBuild(ctx, "web", 1, client.RetryOptions{Key: "key"})
	if err != nil || made || same.Number != 2 {
		t.Errorf("same key: got %d, made %v, %v; want 2, not made", same.Number, made, err)
	}
	if other := w.start("web", client.StartBuild{Key: "key"}); other.Number != 3 {
		t.Errorf("got build %d for the key of a retry, want one of its own", other.Number)
	}
	w.done("web", 3)
	if b := w.done("web", 2); b.Status != client.Succeeded {
		t.Errorf("got %s: %s, want succeeded", b.Status, b.Reason)
	}
	if got := w.readLog("web", 2, client.LogOptions{}); got != "begun\nx\n" {
		t.Errorf("got log %q, want the variable of the first build in it", got)
	}
	if err := w.admin.DeleteBuild(ctx, "web", 1); err != nil {
		t.Fatal(err)
	}
	_, err = w.admin.Build(ctx, "web", 1)
	wantError(t, err, 404, "not_found", "web/1")
	var verbs []string
	for _, e := range w.audit() {
		verbs = append(verbs, e.User+" "+e.Verb)
	}
	want := []string{"admin project.create", "admin build.start", "admin build.stop", "admin build.retry", "admin build.start", "admin build.delete"}
	if !slices.Equal(verbs, want) {
		t.Errorf("got audit %q, want %q", verbs, want)
	}
}

func TestStartOverrides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("web", twoCommands)
	p.Variables = []client.Variable{{Name: "A", Value: "project"}, {Name: "B", Value: "project"}}
	p.Runtime = client.Runtime{Image: "old", Size: "BUILD_GENERAL1_SMALL", Executor: "docker"}
	p, err := w.admin.UpdateProject(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	asked := client.StartBuild{
		Key: "k", Ref: "v1", Inline: "version: 0.2\nphases: {build: {commands: ['echo inline $A $B']}}\n",
		Variables: []client.Variable{{Name: "B", Value: "build"}, {Name: "S", Value: "/ref", Kind: client.ParameterStore}},
		Runtime:   client.Runtime{Image: "new"}, Limits: client.Limits{Timeout: 5e9},
	}
	b := w.start("web", asked)
	wantVars := []client.Variable{{Name: "A", Value: "project"}, {Name: "B", Value: "build"}, {Name: "S", Value: "/ref", Kind: client.ParameterStore}}
	if !slices.Equal(b.Variables, wantVars) {
		t.Errorf("got variables %+v, want %+v", b.Variables, wantVars)
	}
	if want := (client.Runtime{Image: "new", Size: "BUILD_GENERAL1_SMALL", Executor: "docker"}); b.Runtime != want {
		t.Errorf("got runtime %+v, want %+v", b.Runtime, want)
	}
	if b.Source.Version != "v1" || b.Limits.Timeout != 5e9 {
		t.Errorf("got version %q and limits %+v", b.Source.Version, b.Limits)
	}
	again, made, err := w.admin.StartBuild(t.Context(), "web", asked)
	if err != nil || made || again.ID != b.ID {
		t.Errorf("same key: got %s, made %v, %v; want %s, not made", again.ID, made, err, b.ID)
	}
	bad := client.StartBuild{
		Ref: "-x", File: "../up", Variables: []client.Variable{{Name: "1A"}, {Name: "T"}, {Name: "T"}, {Name: "U", Kind: "SECRET"}},
		Runtime: client.Runtime{Executor: "lambda", CPUs: -1}, Limits: client.Limits{Timeout: 1},
	}
	_, _, err = w.admin.StartBuild(t.Context(), "web", bad)
	e := wantError(t, err, 422, "invalid", "body.variables[0].name")
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, f.Field)
	}
	want := []string{"body.ref", "body.file", "body.variables[0].name", "body.variables[2].name", "body.variables[3].kind", "body.runtime.executor", "body.runtime.cpus", "body.limits.timeout"}
	if !slices.Equal(fields, want) {
		t.Errorf("got fields %q, want all of %q", fields, want)
	}
}

func TestListBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("a1", twoCommands)
	w.project("b1", "phases: {build: {commands: ['exit 1']}}\n")
	for range 3 {
		w.start("a1", client.StartBuild{})
	}
	w.start("b1", client.StartBuild{})
	for n := range int64(3) {
		w.done("a1", n+1)
	}
	w.done("b1", 1)
	names := func(f client.BuildFilter) (got []string) {
		for {
			page, err := w.admin.Builds(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range page.Items {
				number, _ := json.Marshal(b.Number)
				got = append(got, b.Project+"/"+string(number))
			}
			if f.After = page.Next; f.After == "" {
				return got
			}
		}
	}
	for _, c := range []struct {
		name string
		f    client.BuildFilter
		want []string
	}{
		{"all", client.BuildFilter{}, []string{"b1/1", "a1/3", "a1/2", "a1/1"}},
		{"by ones", client.BuildFilter{Paging: client.Paging{Limit: 1}}, []string{"b1/1", "a1/3", "a1/2", "a1/1"}},
		{"project by twos", client.BuildFilter{Project: "a1", Paging: client.Paging{Limit: 2}}, []string{"a1/3", "a1/2", "a1/1"}},
		{"status", client.BuildFilter{Status: []string{"failed", "canceled"}}, []string{"b1/1"}},
		{"initiator", client.BuildFilter{Initiator: "nobody"}, nil},
	} {
		if got := names(c.f); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	_, err := w.admin.Builds(t.Context(), client.BuildFilter{Paging: client.Paging{After: "rubbish"}})
	wantError(t, err, 422, "invalid", "cursor")
	_, err = w.admin.Builds(t.Context(), client.BuildFilter{Paging: client.Paging{Limit: 201}})
	wantError(t, err, 422, "invalid", "query.limit")
}
