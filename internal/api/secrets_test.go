package api_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
)

const withSecrets = `
env:
  parameter-store: {TOKEN: %s}
phases: {build: {commands: ['echo token $TOKEN']}}
`

// uses builds a project that asks for a secret by this name, and gives how that went.
func (w *world) uses(project, ref string) (client.Build, string) {
	w.t.Helper()
	w.file(project, "buildspec.yml", "version: 0.2\n"+fmt.Sprintf(withSecrets, ref))
	b := w.start(project, client.StartBuild{})
	b = w.done(project, b.Number)
	return b, w.readLog(project, b.Number, client.LogOptions{})
}

// refuses says why a build was not given the secret.
func (w *world) refuses(project, ref, why string) {
	w.t.Helper()
	b, log := w.uses(project, ref)
	if b.Status != client.Failed || !strings.Contains(b.Jobs[0].Reason, why) {
		w.t.Errorf("%s of %s: got %s: %s; want it refused: %s", ref, project, b.Status, b.Jobs[0].Reason, why)
	}
	if strings.Contains(log+b.Jobs[0].Reason, "hush") {
		w.t.Errorf("%s of %s: the value shows: %s", ref, project, log)
	}
}

func TestWhoMayUseWhichSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []string{"app", "site"} {
		w.project(p, whole)
	}
	w.secret("app", "/own")
	w.secret("", "/shared")
	w.secret("", "/app/over")
	w.secret("app", "/app/over")
	if b, log := w.uses("app", "/own"); b.Status != client.Succeeded || strings.Contains(log, "hush") || !strings.Contains(log, "***") {
		t.Errorf("its own: got %s: %s\n%s", b.Status, b.Jobs[0].Reason, log)
	}
	w.refuses("site", "/own", `project "site" has none of that name`)
	w.refuses("app", "/shared", `no global one of it is for the project`)
	if _, err := w.admin.GrantSecret(t.Context(), "/shared", []string{"app"}); err != nil {
		t.Fatal(err)
	}
	if b, _ := w.uses("app", "/shared"); b.Status != client.Succeeded {
		t.Errorf("granted: got %s: %s", b.Status, b.Jobs[0].Reason)
	}
	w.refuses("site", "/shared", `no global one`)
	if list, err := w.admin.Secrets(t.Context(), "app"); err != nil || len(list) != 3 || list[2].Name != "/shared" || list[2].Projects != nil {
		t.Errorf("got %+v, %v", list, err)
	}
	_, err := w.admin.GrantSecret(t.Context(), "/shared", []string{"nowhere"})
	wantError(t, err, 422, "invalid", "there is no project")

	// What the server's user keeps is not for everybody.
	w.refuses("app", "/server/own", "unless an administrator grants them")
	w.refuses("app", "vault:kv/app#token", "may not use Vault")
	p, err := w.admin.Project(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	p.Secrets = []string{ci.SourceServer}
	maintainer := w.client(w.user(ci.User{Name: "m", Role: ci.RoleMaintainer}))
	_, err = maintainer.UpdateProject(t.Context(), p)
	wantError(t, err, 403, "denied", "only an administrator of the server may allow builds to use the secrets of the source server")
	p.Secrets = []string{"serevr"}
	_, err = w.admin.UpdateProject(t.Context(), p)
	wantError(t, err, 422, "invalid", "secretSources[0]")
	p.Secrets = []string{ci.SourceServer}
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if b, _ := w.uses("app", "/server/own"); b.Status != client.Succeeded {
		t.Errorf("granted: got %s: %s", b.Status, b.Jobs[0].Reason)
	}
	w.refuses("site", "/server/own", "unless an administrator grants them")
	w.refuses("app", "/nowhere", "neither has server")

	used := map[string]int{}
	for _, e := range w.audit() {
		if e.Verb == "secret.use" {
			used[e.Project+" "+e.User+" "+e.Detail]++
		}
		if strings.Contains(e.Detail, "hush") {
			t.Errorf("the audit shows a value: %+v", e)
		}
	}
	want := map[string]int{
		"app admin build 1, project secret /own, version 1": 1, "app admin build 3, global secret /shared, version 1": 1,
		"app admin build 6, server secret parameter_store /server/own": 1,
	}
	if fmt.Sprint(used) != fmt.Sprint(want) {
		t.Errorf("got audit %v\nwant %v", used, want)
	}
	if info, err := w.admin.Secret(t.Context(), "app", "/own"); err != nil || info.LastUse == nil || info.LastUse.Version != 1 || info.LastUse.Build == "" {
		t.Errorf("got %+v, %v", info, err)
	}
	w.nowhere("hush of")
}

// nowhere looks for a text in all that the server keeps and logs.
func (w *world) nowhere(text string) {
	w.t.Helper()
	if strings.Contains(w.log.String(), text) {
		w.t.Errorf("%q is in the log", text)
	}
	err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/sandboxes/") {
			return err
		}
		body, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(body), text) {
			w.t.Errorf("%q is in %s", text, path)
		}
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}

// TestUntrustedBuildGetsNoSecrets: a pull request from a fork gets none, whatever
// its project may use, and neither does a retry of it.
func TestUntrustedBuildGetsNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("app", fmt.Sprintf(withSecrets, "/own"))
	w.secret("app", "/own")
	p.Secrets = []string{ci.SourceServer}
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	id, err := w.engine.Start(t.Context(), engine.Request{Project: "app", Source: ci.Source{Type: p.Source.Type, Location: p.Source.Location}, Initiator: "stranger", Untrusted: true})
	if err != nil {
		t.Fatal(err)
	}
	b := w.done("app", 1)
	if b.ID != string(id) || !b.Untrusted || b.Status != client.Failed || !strings.Contains(b.Jobs[0].Reason, "such builds get no secrets") {
		t.Errorf("got %s: %s", b.Status, b.Jobs[0].Reason)
	}
	again, _, err := w.admin.RetryBuild(t.Context(), "app", 1, client.RetryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if b := w.done("app", again.Number); !b.Untrusted || b.Status != client.Failed {
		t.Errorf("retried: got %s, untrusted %v", b.Status, b.Untrusted)
	}
	for _, ref := range []string{"/own", "/server/own", "vault:kv/app#x"} {
		if v, err := w.app.SecretsOf(ci.Build{ID: id, Project: "app", Untrusted: true}).Lookup(t.Context(), ci.ParameterStore, ref); v != "" || err == nil {
			t.Errorf("%s: got %q, %v", ref, v, err)
		}
	}
	for _, e := range w.audit() {
		if e.Verb == "secret.use" {
			t.Errorf("got %+v", e)
		}
	}
}

// TestSecretReferences looks up versions, JSON keys and AWS's ways to name things;
// a build gets the same version for as long as it runs.
func TestSecretReferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("app", whole)
	set := func(name, value string) {
		if _, err := w.admin.SetSecret(t.Context(), "app", client.NewSecret{Name: name, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	set("/app/token", "one")
	set("/app/token", "two")
	set("prod/db", `{"user":"ann","port":5432}`)
	build := func(id ci.BuildID) ci.SecretSource {
		return w.app.SecretsOf(ci.Build{ID: id, Project: "app", Number: 7, Initiator: "ann"})
	}
	const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbC123"
	for _, c := range []struct {
		kind      ci.VariableKind
		ref, want string
		wrong     string
	}{
		{kind: ci.ParameterStore, ref: "/app/token", want: "two"},
		{kind: ci.ParameterStore, ref: "/app/token:1", want: "one"},
		{kind: ci.ParameterStore, ref: "/app/token:3", wrong: "has none of that name"},
		{kind: ci.ParameterStore, ref: "arn:aws:ssm:eu-west-1:123456789012:parameter/app/token", want: "two"},
		{kind: ci.SecretsManager, ref: "/app/token::AWSPREVIOUS", want: "one"},
		{kind: ci.SecretsManager, ref: "/app/token::AWSCURRENT", want: "two"},
		{kind: ci.SecretsManager, ref: "/app/token:::1", want: "one"},
		{kind: ci.SecretsManager, ref: "prod/db:user", want: "ann"},
		{kind: ci.SecretsManager, ref: arn + ":port", want: "5432"},
		{kind: ci.SecretsManager, ref: "prod/db:none", wrong: `no JSON key "none"`},
		{kind: ci.SecretsManager, ref: "prod/db::PENDING", wrong: "has none of that name"},
		{kind: ci.SecretsManager, ref: "a:b:c:d:e", wrong: "want secret-id"},
		{kind: ci.ParameterStore, ref: "../x", wrong: "has none of that name"},
	} {
		got, err := build("b1").Lookup(t.Context(), c.kind, c.ref)
		if got != c.want || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s %s: got %q, %v; want %q %s", c.kind, c.ref, got, err, c.want, c.wrong)
		}
	}
	set("/app/token", "three")
	if got, err := build("b1").Lookup(t.Context(), ci.ParameterStore, "/app/token"); got != "two" || err != nil {
		t.Errorf("after a restart in mid-build: got %q, %v; want what the build began with", got, err)
	}
	if got, err := build("b2").Lookup(t.Context(), ci.ParameterStore, "/app/token"); got != "three" || err != nil {
		t.Errorf("another build: got %q, %v", got, err)
	}
	if n, err := w.admin.PruneSecret(t.Context(), "app", "/app/token", 1); n != 2 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	if _, err := build("b1").Lookup(t.Context(), ci.ParameterStore, "/app/token"); err == nil || !strings.Contains(err.Error(), "with which the build began, was deleted") {
		t.Errorf("pruned under a build: got %v", err)
	}
	_, err := w.admin.PruneSecret(t.Context(), "app", "/app/token", 0)
	wantError(t, err, 422, "invalid", "body.keep")
	_, err = w.admin.SetSecret(t.Context(), "app", client.NewSecret{Name: "a:b"})
	if e := wantError(t, err, 422, "invalid", "body.value"); !strings.Contains(e.Error(), "body.name") {
		t.Errorf("got %v; want both fields named", e)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := build("b3").Lookup(ended, ci.ParameterStore, "/app/token"); err == nil {
		t.Error("looked up for a build that has ended")
	}
}

// TestWhatFollowsAnUntrustedBuildIsUntrusted: what it exported is handed on.
func TestWhatFollowsAnUntrustedBuildIsUntrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lib := w.project("lib", "phases: {build: {commands: [echo lib]}}")
	app := w.project("app", fmt.Sprintf(withSecrets, "/own"))
	app.After = []string{"lib"}
	w.update(app)
	w.secret("app", "/own")
	if _, err := w.engine.Start(t.Context(), engine.Request{Project: "lib", Source: ci.Source{Type: lib.Source.Type, Location: lib.Source.Location}, Untrusted: true}); err != nil {
		t.Fatal(err)
	}
	if b := w.until("app", 1); !b.Untrusted || b.Status != client.Failed {
		t.Errorf("got %s, untrusted %v", b.Status, b.Untrusted)
	}
}
