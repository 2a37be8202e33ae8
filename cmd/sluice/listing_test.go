package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestListings holds that whatever is called a list can be printed in all ways.
func TestListings(t *testing.T) {
	t.Parallel()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Name() != "list" || cmd.Flags().Lookup("server") == nil {
			return
		}
		for _, name := range []string{"json", "format", "watch"} {
			if cmd.Flags().Lookup(name) == nil {
				t.Errorf("%s has no --%s", cmd.CommandPath(), name)
			}
		}
	}
	walk(newRoot())
}

func TestWatchScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &watchScreen{out: &out}
	for _, text := range []string{"A\nb 1\nc 1\n", "A\nb 1\nc 1\n", "A\nb 2\nc 1\n", "A\nc 1\n", "A\nc 1\nc 1\n"} {
		if err := s.show(text); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := out.String(), "A\nb 1\nc 1\nb 2\nc 1\n"; got != want {
		t.Errorf("not on a terminal: got %q, want %q", got, want)
	}
	out.Reset()
	s = &watchScreen{out: &out, height: func() int { return 3 }}
	for _, text := range []string{"A\nb\nc\n", "A\nb\nc\n", "A\n"} {
		if err := s.show(text); err != nil {
			t.Fatal(err)
		}
	}
	line := func(text string) string { return "\x1b[?7l" + text + "\x1b[?7h\n" }
	if got, want := out.String(), "\r\x1b[J"+line("A")+line("b")+"\x1b[2A\r\x1b[J"+line("A"); got != want {
		t.Errorf("on a terminal: got %q, want %q", got, want)
	}
	if err := errors.Join(s.note(errors.New("gone")), s.note(errors.New("gone")), s.show("A\n")); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "gone") != 1 || !strings.HasSuffix(out.String(), "\x1b[2A\r\x1b[J"+line("A")) {
		t.Errorf("an error: got %q", out.String())
	}
}

// TestWatch has a list go on while builds come.
func TestWatch(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["echo built"]`)
	s.must("build", "start", "app", "--follow")
	if out := s.must("build", "list", "-o", "wide"); !strings.Contains(out, "ID") || !strings.Contains(out, "RETRY OF") {
		t.Errorf("wide: got %s", out)
	}
	if out := s.must("build", "list"); strings.Contains(out, "RETRY OF") || strings.Contains(out, wideMark) {
		t.Errorf("not wide: got %s", out)
	}
	if got, want := builds(t, s.must("build", "list", "-o", "json")), 1; len(got) != want {
		t.Errorf("json: got %d builds", len(got))
	}
	if _, errs, code := s.run("build", "list", "-o", "xml"); code != exitUsage || !strings.Contains(errs, "want table, wide or json") {
		t.Errorf("exit %d, %q", code, errs)
	}
	cmd := exec.Command(s.exe, "build", "list", "--watch", "--interval", "100ms")
	cmd.Env = append(os.Environ(), "SLUICE_URL="+s.url, "SLUICE_TOKEN="+s.token())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	until := func(text string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("%q did not come: %v", text, lines.Err())
	}
	until("app/1")
	s.must("build", "start", "app")
	until("app/2")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
