package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
)

const waiting = "phases: {build: {commands: ['echo begun; echo $SLUICE_TOKEN; wait gate; echo done']}}\n"

// running starts a build of a project whose builds have the role, and gives its
// token once it runs. It goes on until the gate is opened.
func (w *world) running(project string, role ci.Role) (b client.Build, token string) {
	w.t.Helper()
	p := w.project(project, waiting)
	p.BuildRole = string(role)
	if _, err := w.admin.UpdateProject(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	b = w.start(project, client.StartBuild{})
	w.begun(project, b.Number)
	vars, secret, err := w.app.IdentityOf(w.t.Context(), w.stored(b.ID), w.url)
	if err != nil || len(vars) != 4 || len(secret) != 1 || vars[0].Value != project+"/1" {
		w.t.Fatalf("got %v, %v", vars, err)
	}
	return b, secret[0]
}

func (w *world) stored(id string) ci.Build {
	w.t.Helper()
	b, err := w.engine.Build(w.t.Context(), ci.BuildID(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// begun waits until a build's command has started.
func (w *world) begun(project string, number int64) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	_ = w.admin.Events(ctx, project, number, 0, func(e client.Event) error {
		if strings.HasSuffix(e.Step, "/BUILD/0") {
			stop()
		}
		return nil
	})
}

func TestBuildTokenLivesWithItsBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("other", whole)
	_, token := w.running("app", ci.RoleViewer)
	c := w.client(token)
	if me, err := c.Me(t.Context()); err != nil || me.Name != "build:app/1" {
		t.Errorf("got %+v, %v", me, err)
	}
	if _, err := c.Build(t.Context(), "app", 1); err != nil {
		t.Errorf("its own build: %v", err)
	}
	_, err := c.Project(t.Context(), "other")
	wantError(t, err, 404, "not_found", "other")
	_, _, err = c.StartBuild(t.Context(), "app", client.StartBuild{})
	wantError(t, err, 403, "denied", "takes the role builder, and yours is viewer")
	_, err = c.CreateToken(t.Context(), client.NewToken{})
	wantError(t, err, 403, "denied", "makes no others")
	_, err = c.Users(t.Context())
	wantError(t, err, 403, "denied", "")
	_, err = c.Secrets(t.Context(), "app")
	wantError(t, err, 403, "denied", "")

	// What a project gives its builds holds at once, also for those that run.
	p, err := w.admin.Project(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"maintainer", "admin", "king"} {
		p.BuildRole = role
		_, err = w.admin.UpdateProject(t.Context(), p)
		wantError(t, err, 422, "invalid", "buildRole")
	}
	p.BuildRole = "builder"
	if p, err = w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	made, _, err := c.StartBuild(t.Context(), "app", client.StartBuild{})
	if err != nil || made.Initiator != "build:app/1" {
		t.Errorf("got %+v, %v", made, err)
	}
	p.BuildRole = ""
	if p, err = w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	_, err = c.Me(t.Context())
	wantError(t, err, 401, "unauthenticated", "not valid")
	p.BuildRole = "viewer"
	if _, err = w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Me(t.Context()); err != nil {
		t.Error(err)
	}
	id, mac, _ := strings.Cut(strings.TrimPrefix(token, "slb_"), "_")
	second := w.stored(made.ID)
	for _, bad := range []string{"slb_", "slb_" + id, "slb_" + id + "_", "slb_" + string(second.ID) + "_" + mac, "slb_" + id + "_" + strings.Repeat("A", len(mac)), token + "A", "slb__" + mac, "slb_" + strings.Repeat("x", 1<<12) + "_" + mac} {
		if status, _, _ := w.raw("GET", "/api/v1/me", bad, ""); status != http.StatusUnauthorized {
			t.Errorf("%.60q: got %d", bad, status)
		}
	}
	w.script.Release("gate")
	w.done("app", 1)
	_, err = c.Me(t.Context())
	wantError(t, err, 401, "unauthenticated", "not valid")
	if log := w.readLog("app", 1, client.LogOptions{}); strings.Contains(log, mac) || !strings.Contains(log, "***") {
		t.Errorf("the token is not masked: %s", log)
	}
	w.done("app", 2)
	w.nowhere(mac)
}

func TestNoIdentityUnlessAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("app", whole)
	if vars, secret, err := w.app.IdentityOf(t.Context(), ci.Build{ID: "b", Project: "app"}, w.url); len(vars)+len(secret) > 0 || err != nil {
		t.Errorf("by default: got %v, %v", vars, err)
	}
	p.BuildRole = string(ci.RoleBuilder)
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.file("app", "buildspec.yml", "version: 0.2\n"+waiting)
	id, err := w.engine.Start(t.Context(), engine.Request{Project: "app", Source: ci.Source{Type: p.Source.Type, Location: p.Source.Location}, Initiator: "stranger", Untrusted: true})
	if err != nil {
		t.Fatal(err)
	}
	w.begun("app", 1)
	vars, secret, err := w.app.IdentityOf(t.Context(), w.stored(string(id)), w.url)
	if err != nil || len(vars) != 3 || len(secret) != 1 {
		t.Fatalf("got %v, %v", vars, err)
	}
	c := w.client(secret[0])
	if _, err := c.Build(t.Context(), "app", 1); err != nil {
		t.Errorf("an untrusted build may look: %v", err)
	}
	_, _, err = c.StartBuild(t.Context(), "app", client.StartBuild{})
	wantError(t, err, 403, "denied", "yours is viewer")
	_, err = c.IDToken(t.Context(), "app", 1, client.NewIDToken{Audience: "x"})
	wantError(t, err, 403, "denied", "gets no identity")
	w.script.Release("gate")
	w.done("app", 1)
}

// TestIDToken has a client of another make verify what the issuer signs.
func TestIDToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	repo := filepath.Join(t.TempDir(), "app.git")
	hash := w.repository(repo, waiting)
	p, err := w.admin.CreateProject(t.Context(), client.Project{Name: "app", BuildRole: "viewer", Source: client.Source{Type: "git", Location: repo, Version: "main"}})
	if err != nil {
		t.Fatal(err)
	}
	b := w.start("app", client.StartBuild{})
	w.begun("app", 1)
	_, secret, err := w.app.IdentityOf(t.Context(), w.stored(b.ID), w.url)
	if err != nil {
		t.Fatal(err)
	}
	c := w.client(secret[0])
	provider, err := oidc.NewProvider(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(algorithm string) *oidc.IDToken {
		t.Helper()
		got, err := c.IDToken(t.Context(), "app", 1, client.NewIDToken{Audience: "sts.amazonaws.com", Algorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		token, err := provider.Verifier(&oidc.Config{ClientID: "sts.amazonaws.com"}).Verify(t.Context(), got.Token)
		if err != nil {
			t.Fatal(err)
		}
		if !token.Expiry.Equal(got.Expires) || time.Until(token.Expiry) > 11*time.Minute || time.Until(token.Expiry) < 5*time.Minute {
			t.Errorf("it ends %v, and %v is said", token.Expiry, got.Expires)
		}
		if _, err := provider.Verifier(&oidc.Config{ClientID: "somebody else"}).Verify(t.Context(), got.Token); err == nil {
			t.Error("it is good for others too")
		}
		return token
	}
	var claims map[string]any
	token := verify("")
	if err := token.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": w.url, "sub": "project:app:ref:refs/heads/main", "aud": "sts.amazonaws.com", "sluice.project": "app", "ref": "refs/heads/main", "build": b.ID,
		"number": 1.0, "commit": hash, "initiator": "admin", "source": "git",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	verify("ES256")
	// New keys; the old ones stay good, and a verifier that knows only them asks again.
	old, err := c.IDToken(t.Context(), "app", 1, client.NewIDToken{Audience: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.admin.RotateIdentityKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	verify("")
	fresh, err := oidc.NewProvider(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Verifier(&oidc.Config{ClientID: "x"}).Verify(t.Context(), old.Token); err != nil {
		t.Errorf("signed by the key before: %v", err)
	}
	_, _, body := w.raw("GET", "/.well-known/jwks.json", "", "")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(body), &set); err != nil || len(set.Keys) != 4 {
		t.Errorf("got %s, %v; want two keys of each algorithm", body, err)
	}
	for _, k := range set.Keys {
		if k["d"] != "" || k["p"] != "" || k["use"] != "sig" {
			t.Errorf("a private half is shown: %v", k)
		}
	}
	if _, err := w.admin.RotateMasterKey(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	verify("")

	// Nobody else gets one: the administrator, another build, a later one.
	_, err = w.admin.IDToken(t.Context(), "app", 1, client.NewIDToken{Audience: "x"})
	wantError(t, err, 403, "denied", "only the build itself")
	second := w.start("app", client.StartBuild{Inline: "version: 0.2\nphases: {build: {commands: ['wait gate']}}\n"})
	w.begun("app", second.Number)
	_, err = c.IDToken(t.Context(), "app", second.Number, client.NewIDToken{Audience: "x"})
	wantError(t, err, 403, "denied", "only the build itself")
	for _, bad := range []client.NewIDToken{{}, {Audience: "a\nb"}, {Audience: strings.Repeat("a", 300)}, {Audience: "x", Algorithm: "none"}} {
		_, err = c.IDToken(t.Context(), "app", 1, bad)
		wantError(t, err, 422, "invalid", "body.a")
	}
	// A branch of that name elsewhere is not the project's.
	p.Source.Location = filepath.Join(t.TempDir(), "other.git")
	if _, err = w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	claims = nil
	if err := verify("").Claims(&claims); err != nil || claims["sub"] != "project:app" || claims["ref"] != nil || claims["commit"] != nil {
		t.Errorf("of another repository: got %v, %v", claims, err)
	}
	w.script.Release("gate")
	w.done("app", 1)
	w.done("app", second.Number)
	_, err = c.IDToken(t.Context(), "app", 1, client.NewIDToken{Audience: "x"})
	wantError(t, err, 401, "unauthenticated", "not valid")
	n := 0
	for _, e := range w.audit() {
		if e.Verb == "identity.issue" && e.User == "build:app/1" && e.Build == ci.BuildID(b.ID) {
			n++
		}
	}
	if n < 5 {
		t.Errorf("the audit has %d tokens", n)
	}
	w.nowhere("PRIVATE KEY")
}

// repository makes one with a definition on main, and gives its commit.
func (w *world) repository(dir, spec string) string {
	w.t.Helper()
	work := w.file("repository", "buildspec.yml", "version: 0.2\n"+spec)
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", work, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	git("clone", "-q", "--bare", work, dir)
	return git("rev-parse", "HEAD")
}

// TestAWSTakesTheIdentity exchanges a build's token for credentials of a role.
func TestAWSTakesTheIdentity(t *testing.T) {
	t.Parallel()
	moto, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed")
	}
	w := newWorld(t)
	_, token := w.running("app", ci.RoleViewer)
	got, err := w.client(token).IDToken(t.Context(), "app", 1, client.NewIDToken{Audience: "sts.amazonaws.com"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	cmd := exec.Command(moto, "-H", "127.0.0.1", "-p", port)
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		buf, seen, open := make([]byte, 4096), "", true
		for {
			n, err := said.Read(buf)
			if seen += string(buf[:n]); open && strings.Contains(seen, "Running on") {
				close(ready)
				open = false
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-drained:
		t.Fatal("moto_server ended before it listened")
	case <-time.After(90 * time.Second):
		t.Fatal("moto_server does not listen")
	}
	res, err := http.PostForm("http://127.0.0.1:"+port+"/", url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {"arn:aws:iam::123456789012:role/deploy"}, "RoleSessionName": {"app-1"}, "WebIdentityToken": {got.Token},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(text), "<AccessKeyId>") {
		t.Errorf("got %d: %s, %v", res.StatusCode, text, err)
	}
	w.script.Release("gate")
	w.done("app", 1)
}
