package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIdentityOfABuild has a build say who it is, before and after its project
// lets it.
func TestIdentityOfABuild(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	dir := t.TempDir()
	spec := "version: 0.2\nphases: {build: {commands: ['\"$EXE\" whoami', '\"$EXE\" identity token --audience sts.amazonaws.com | cut -c1-3', 'echo for $SLUICE_BUILD: $SLUICE_TOKEN']}}\n"
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	s.must("project", "create", "app", "--source", dir, "--isolation", "none", "--executor", "local", "--env", "EXE="+s.exe)
	if _, errs, code := s.run("build", "start", "app", "--follow"); code != 1 {
		t.Errorf("without a token: exit %d, %s", code, errs)
	}
	if out := s.must("identity", "allow", "--project", "app"); out != "builds of project app have no token of their own\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("identity", "allow", "--project", "app", "--role", "viewer"); out != "builds of project app have a token of their own, as viewer\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("build", "start", "app", "--follow"); out != "build:app/2: no role in the whole server, app=viewer\neyJ\nfor app/2: ***\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("identity", "rotate-keys"); out != "made new signing keys\n" {
		t.Errorf("got %q", out)
	}
	if out := s.must("identity", "allow", "--project", "app", "--role", "none"); !strings.Contains(out, "no token") {
		t.Errorf("got %q", out)
	}
	for text, args := range map[string][]string{
		"want none, viewer, builder": {"identity", "allow", "--project", "app", "--role", "admin"},
		"--project is missing":       {"identity", "allow"},
		"--audience is missing":      {"identity", "token"},
		"SLUICE_BUILD does not say":  {"identity", "token", "--audience", "x"},
	} {
		if out, errs, code := s.run(args...); code != exitUsage || !strings.Contains(errs, text) {
			t.Errorf("%v: exit %d, %s%s; want %q", args, code, out, errs, text)
		}
	}
}
