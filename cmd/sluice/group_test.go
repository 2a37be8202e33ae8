package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestGroupCommands(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.must("user", "set", "ann")
	token := strings.TrimSpace(s.must("token", "create", "--user", "ann"))
	s.wantRefused(token, exitFault, "takes the role admin", "group", "list")
	if out := s.must("group", "set", "team", "--role", "viewer", "--project", "app=builder", "--description", "the team"); out != "made group team: viewer, app=builder\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("group", "add", "team", "ann", "admin"); out != "ann is in group team\nadmin is in group team\n" {
		t.Errorf("got %q", out)
	}
	if out, _, _ := s.as(token, "whoami"); out != "ann: viewer, app=builder, in team\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("group", "set", "team", "--project", "app=none"); out != "changed group team: viewer\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("group", "list"); !strings.Contains(out, "team  viewer  -         admin ann  the team") {
		t.Errorf("got %s", out)
	}
	if out := s.must("group", "remove", "team", "admin"); out != "admin is not in group team\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("group", "show", "team"); !strings.Contains(out, `"ann"`) || strings.Contains(out, `"admin"`) {
		t.Errorf("got %s", out)
	}
	s.must("group", "delete", "team")
	s.wantRefused(token, exitFault, "takes the role admin", "group", "list")
	s.wantRefused(s.token(), exitUsage, "want NAME=ROLE", "group", "set", "team", "--project", "app")
}
