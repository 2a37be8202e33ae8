package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServerSecrets keeps secrets on a server and builds with them, over a
// rotation of the key and a restart.
func TestServerSecrets(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	const value = "tr0ub4dor-and-3"
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	spec := "version: 0.2\nenv: {parameter-store: {TOKEN: /app/token}}\nphases: {build: {commands: ['echo length ${#TOKEN}; echo it is $TOKEN']}}\n"
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"app", "site"} {
		s.must("project", "create", p, "--source", dir, "--isolation", "none", "--executor", "local")
	}
	if out := s.must("secret", "set", "/app/token", "--project", "app", "--from-file", file, "--description", "opens"); out != "kept secret of project app /app/token, version 1\n" {
		t.Errorf("got %q", out)
	}
	want := "length 15\nit is ***\n"
	if out := s.must("build", "start", "app", "--follow"); out != want {
		t.Errorf("got %q", out)
	}
	if _, errs, code := s.run("build", "start", "site", "--follow"); code != 1 || !strings.Contains(errs, `project "site" has none of that name`) {
		t.Errorf("of another project: exit %d, %s", code, errs)
	}
	if out := s.must("secret", "rotate-key", "--forget"); !strings.HasPrefix(out, "sealed 1 values under master key ") {
		t.Errorf("got %q", out)
	}
	s.stop()
	s = serverIn(t, data)
	if out := s.must("build", "start", "app", "--follow"); out != want {
		t.Errorf("after a rotation and a restart: got %q", out)
	}
	for _, c := range []struct {
		text string
		args []string
	}{
		{"/app/token  app  1", []string{"secret", "list", "--project", "app"}},
		{"project.create", []string{"audit"}},
		{"/app/token, version 1", []string{"audit", "--verb", "secret.use"}},
		{"opens", []string{"secret", "show", "/app/token", "--project", "app"}},
		{`"number": 1`, []string{"secret", "versions", "/app/token", "--project", "app", "--json"}},
		{"also server, aws", []string{"secret", "sources", "--project", "site", "server", "aws"}},
		{"builds of project site use its own and", []string{"secret", "sources", "--project", "site", "--none"}},
		{"deleted secret of project app /app/toke", []string{"secret", "delete", "/app/token", "-p", "app"}},
	} {
		if out := s.must(c.args...); !strings.Contains(strings.Join(strings.Fields(out), "  "), strings.Join(strings.Fields(c.text), "  ")) || strings.Contains(out, value) {
			t.Errorf("%v: got %s; want %q", c.args, out, c.text)
		}
	}
	for text, args := range map[string][]string{
		"want one of them":           {"secret", "list", "--project", "app", "--global"},
		"whose secret?":              {"secret", "show", "/app/token"},
		"say also --project NAME":    {"secret", "list", "--server", s.url},
		"--to is for --global":       {"secret", "set", "/x", "--project", "app", "--to", "site"},
		"body.name":                  {"secret", "set", "a:b", "--project", "app", "--from-file", file},
		`did you mean "server"`:      {"secret", "sources", "--project", "app", "sever"},
		"want --to PROJECT":          {"secret", "grant", "/x"},
		`"/none": not found`:         {"secret", "show", "/none", "--global"},
		"there is no project":        {"secret", "set", "/g", "--global", "--from-file", file, "--to", "nowhere"},
		"--from-file: open /no/such": {"secret", "set", "/x", "--project", "app", "--from-file", "/no/such"},
	} {
		if out, errs, code := s.run(args...); code != exitUsage || !strings.Contains(errs, text) {
			t.Errorf("%v: exit %d, %s%s; want %q", args, code, out, errs, text)
		}
	}
	if strings.Contains(s.said(), value) {
		t.Error("the value is in the server's log")
	}
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), value) {
			t.Errorf("the value is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestKeySource(t *testing.T) {
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, bad := range []string{"", key, "env:", "env:a b", "env:" + key, "file:", "command: ", "kms:x"} {
		if _, err := parseKeySource(bad); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%q: got %v; want it refused, and not shown", bad, err)
		}
	}
	t.Setenv("SLUICE_TEST_KEY", key)
	source, err := parseKeySource("env:SLUICE_TEST_KEY")
	if err != nil {
		t.Fatal(err)
	}
	source.keys()
	if _, set := os.LookupEnv("SLUICE_TEST_KEY"); set {
		t.Error("children of the server inherit the key")
	}
	dir := t.TempDir()
	hook := filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho unwrapping >&2\n[ \"$1\" = good ] && echo "+key+" || exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{"good": "", "bad": "exit status 3: unwrapping"} {
		source, err := parseKeySource("command:" + hook + " " + arg)
		if err != nil {
			t.Fatal(err)
		}
		out, err := source.ask(t.Context())
		if want == "" && (err != nil || strings.TrimSpace(string(out)) != key) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %q, %v", arg, out, err)
		}
	}
}
