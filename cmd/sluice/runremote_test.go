package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// TestRunRemote builds a work tree here and on a server: the same is shown, and
// the exit code is the same.
func TestRunRemote(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.must("project", "create", "app", "--source", "upload", "--isolation", "none")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in := func(args ...string) (string, string, int) {
		t.Helper()
		return s.run(append(args, dir)...)
	}
	// What differs on purpose: numbers, times, where it runs.
	varies := regexp.MustCompile(`\d+(\.\d+)? ?(s|m|KiB|MB|KB)\b|build \d+ \(\w+\)|/[^ ]*`)
	plain := func(text string) string {
		var lines []string
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "Record: ") {
				lines = append(lines, varies.ReplaceAllString(line, "X"))
			}
		}
		return strings.Join(lines, "")
	}
	spec := "version: 0.2\nenv: {variables: {WHO: me}}\nphases:\n  install: {commands: [echo installing]}\n  build: {commands: ['echo \"$WHO $MORE\"', 'cat note', 'exit %']}\n"
	for code, want := range map[string]int{"0": exitOK, "3": exitFailed} {
		write("buildspec.yml", strings.ReplaceAll(spec, "%", code))
		write("note", "never committed\n")
		write(".sluice/state/x", "a result, never sent\n")
		here, _, hereCode := in("run", "--isolation", "none", "--env", "MORE=too", "--project", "app")
		far, errs, farCode := in("run", "--remote", "--project", "app", "--env", "MORE=too")
		if hereCode != want || farCode != want {
			t.Fatalf("exit %d here and %d there, want %d:\n%s%s", hereCode, farCode, want, far, errs)
		}
		if !strings.Contains(far, "me too") || !strings.Contains(far, "never committed") || plain(far) != plain(here) {
			t.Errorf("there:\n%s\nhere:\n%s\nserver: %s", far, here, s.said())
		}
		if !strings.Contains(errs, "sent ") {
			t.Errorf("got %q on standard error", errs)
		}
	}
	if _, errs, _ := in("run", "--remote", "--project", "app", "--env", "MORE=too"); !strings.Contains(errs, "the server has these files already") {
		t.Errorf("sent again: got %q", errs)
	}
	write("buildspec.yml", "version: 0.2\nphases: {\n")
	if out, _, code := in("run", "--remote", "--project", "app"); code != exitUsage || !strings.Contains(out, "buildspec.yml:") {
		t.Errorf("a definition that does not compile: exit %d, %s", code, out)
	}
	for want, args := range map[string][]string{
		`no project "nowhere"`:               {"run", "--remote", "--project", "nowhere"},
		"--keep is for builds on this mach":  {"run", "--remote", "--project", "app", "--keep"},
		"--secret is for builds on this mac": {"run", "--remote", "--project", "app", "--keep", "--secret", "X"},
		"--source-version nope":              {"run", "--remote", "--project", "app", "--source-version", "nope"},
	} {
		if out, errs, code := in(args...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %s%s", args, code, out, errs)
		}
	}
	if out, _, code := in("run", "--remote", "--project", "app", "--json"); code != exitUsage || !strings.HasPrefix(out, "{") {
		t.Errorf("--json: exit %d, %s", code, out)
	}
}

// TestRunRemoteInterrupt ends the build at the server with the command here.
func TestRunRemoteInterrupt(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.must("project", "create", "app", "--source", "upload", "--isolation", "none")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte("version: 0.2\nphases: {build: {commands: ['echo begun; sleep 1000']}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(s.exe, "run", "--remote", "--project", "app", dir)
	cmd.Env = append(os.Environ(), "SLUICE_URL="+s.url, "SLUICE_TOKEN="+s.token())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []byte
	buf := make([]byte, 4096)
	for asked := false; ; {
		n, err := out.Read(buf)
		if all = append(all, buf[:n]...); !asked && strings.Contains(string(all), "\nbegun") {
			asked = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	if b := s.ended("app", 1); cmd.ProcessState.ExitCode() != exitCanceled || b.Status != client.Canceled {
		t.Errorf("exit %d, build %s:\n%s", cmd.ProcessState.ExitCode(), b.Status, all)
	}
}
