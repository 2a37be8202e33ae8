package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// as is run with another token than the administrator's.
func (s *served) as(token string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.run(append(args, "--token-file", file)...)
}

// wantRefused runs a command with a token, which must end so.
func (s *served) wantRefused(token string, want int, text string, args ...string) {
	s.t.Helper()
	if out, errs, code := s.as(token, args...); code != want || out != "" || !strings.Contains(errs, text) {
		s.t.Errorf("sluice %s: exit %d, %q, %q; want exit %d and %q", strings.Join(args, " "), code, out, errs, want, text)
	}
}

// TestTeam lets a builder of one project in, and keeps her from the rest.
func TestTeam(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["echo built"]`)
	s.project("open1", `["echo open"]`)
	dir := t.TempDir()
	s.must("project", "create", "hidden", "--source", dir, "--private")

	if out := s.must("user", "set", "ann", "--role", "viewer", "--project", "app=builder", "--full-name", "Ann Lee", "--mail", "ann@example.com"); !strings.HasPrefix(out, "made user ann: viewer, app=builder;") {
		t.Errorf("got %q", out)
	}
	token := strings.TrimSuffix(s.must("token", "create", "--user", "ann", "--note", "laptop", "--expires", "720h"), "\n")
	if len(token) != 47 || !strings.HasPrefix(token, "slu_") {
		t.Fatalf("got %q; want the token alone", token)
	}
	if out, errs, code := s.as(token, "whoami"); code != 0 || !strings.HasPrefix(out, "ann: viewer, app=builder; it ends ") {
		t.Errorf("whoami: exit %d, %q, %q", code, out, errs)
	}
	if out, errs, code := s.as(token, "build", "start", "app", "--follow"); code != 0 || out != "built\n" {
		t.Errorf("her build: exit %d, %q, %q", code, out, errs)
	}
	if b := s.ended("app", 1); b.Initiator != "ann" {
		t.Errorf("the build is %q's", b.Initiator)
	}
	s.wantRefused(token, exitFault, "takes the role maintainer, and yours is viewer", "project", "create", "mine", "--source", "https://example.com/x.git")
	s.wantRefused(token, exitFault, "takes the role builder, and yours is viewer", "build", "start", "open1")
	s.wantRefused(token, exitUsage, "not found", "project", "show", "hidden")
	s.wantRefused(token, exitUsage, "not found", "build", "start", "hidden")
	s.wantRefused(token, exitFault, "takes the role admin, and yours is viewer", "user", "list")
	s.wantRefused(token, exitFault, "takes the role admin, and yours is viewer", "user", "set", "ann", "--role", "admin")
	s.wantRefused(token, exitFault, "takes the role admin", "token", "create", "--user", "admin")
	s.wantRefused(token, exitFault, "takes the role admin", "token", "list", "--all")
	if out, _, _ := s.as(token, "project", "list"); strings.Contains(out, "hidden") || !strings.Contains(out, "open1") {
		t.Errorf("her projects: %s", out)
	}

	if out := s.must("user", "set", "ann", "--project", "app=none", "--project", "open1=maintainer"); out != "changed user ann: viewer, open1=maintainer\n" {
		t.Errorf("got %q", out)
	}
	s.wantRefused(token, exitFault, "takes the role builder", "build", "start", "app")
	if out := s.must("user", "list"); !strings.Contains(out, "Ann Lee") || !strings.Contains(out, "open1=maintainer") || strings.Count(out, "\n") != 3 {
		t.Errorf("got %s", out)
	}
	for _, args := range [][]string{{"user", "set", "admin", "--disable"}, {"user", "set", "admin", "--role", "none"}, {"user", "delete", "admin"}} {
		s.wantRefused(s.token(), exitFault, "last enabled administrator", args...)
	}
	s.must("user", "set", "ann", "--disable")
	s.wantRefused(token, exitFault, "not valid", "whoami")
	s.must("user", "set", "ann", "--enable")
	if _, errs, code := s.as(token, "whoami"); code != 0 {
		t.Errorf("enabled again: exit %d, %s", code, errs)
	}
	s.must("user", "delete", "ann")
	s.wantRefused(token, exitFault, "not valid", "whoami")
	s.wantRefused(s.token(), exitUsage, "not found", "user", "show", "ann")
	if log := s.said(); strings.Contains(log, token) || !strings.Contains(s.must("audit", "--verb", "user.delete"), "ann") {
		t.Errorf("the audit lacks something, or shows the token:\n%s", log)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	var k client.IssuedToken
	text := s.must("token", "create", "--role", "builder", "--project", "app", "--note", "nightly", "--expires", "2030-01-01T00:00:00Z", "--json")
	if err := json.Unmarshal([]byte(text), &k); err != nil || k.Secret == "" || k.ID == "" || k.Note != "nightly" || k.Expires.Year() != 2030 {
		t.Fatalf("got %s, %v", text, err)
	}
	if out, _, _ := s.as(k.Secret, "whoami"); !strings.HasPrefix(out, "admin: builder; the token: role:builder project:app; it ends 20") {
		t.Errorf("got %q", out)
	}
	s.wantRefused(k.Secret, exitFault, "role:builder, project:app", "token", "create")
	if out := s.must("token", "list", "--user", "admin"); strings.Contains(out, k.Secret) || !strings.Contains(out, k.ID) || strings.Count(out, "\n") != 3 {
		t.Errorf("got %s; want two tokens", out)
	}
	s.wantRefused(s.token(), exitUsage, "that is the token itself", "token", "revoke", k.Secret)
	if out := s.must("token", "revoke", k.ID); out != "revoked token "+k.ID+"\n" {
		t.Errorf("got %q", out)
	}
	s.wantRefused(k.Secret, exitFault, "not valid", "whoami")
	s.wantRefused(s.token(), exitUsage, "not found", "token", "revoke", k.ID)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"want a time such as 720h", []string{"token", "create", "--expires", "soon", "--role", "king"}},
		{"want viewer, builder", []string{"token", "create", "--expires", "soon", "--role", "king"}},
		{"want a time to come", []string{"token", "create", "--expires", "-1h"}},
		{"want NAME=ROLE", []string{"user", "set", "x", "--project", "app", "--role", "buidler"}},
		{`did you mean "builder"`, []string{"user", "set", "x", "--project", "app", "--role", "buidler"}},
		{"cannot be the name of a user", []string{"user", "set", "a b"}},
		{"--disable and --enable", []string{"user", "set", "x", "--disable", "--enable"}},
	} {
		s.wantRefused(s.token(), exitUsage, c.want, c.args...)
	}
}
