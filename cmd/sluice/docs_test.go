package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

// TestCLIPage holds docs/cli.md to the commands and flags that there are.
func TestCLIPage(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString("# Commands\n\nThis page is made from the flag table (`go test ./cmd/sluice -run TestCLIPage -update`).\nExit codes: [exit-codes.md](exit-codes.md).\n")
	page(&b, newRoot())
	file := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not what the commands say; go test ./cmd/sluice -run TestCLIPage -update makes it anew", file)
	}
}

func page(b *bytes.Buffer, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(b, "\n%s\n", cmd.Long)
	}
	fmt.Fprintf(b, "\n    %s\n", cmd.UseLine())
	first := true
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if first {
			b.WriteString("\n| flag | meaning |\n|---|---|\n")
			first = false
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`))
	})
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```\n%s\n```\n", cmd.Example)
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			page(b, sub)
		}
	}
}

// TestHelp: every command says what it is for and shows an example.
func TestHelp(t *testing.T) {
	t.Parallel()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no short text or no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

// TestManPages: no line of a page is taken for a request by accident.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeMan(newRoot(), dir); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{".TH": true, ".SH": true, ".B": true, ".BR": true, ".TP": true, ".PP": true, ".nf": true, ".fi": true}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, p := range pages {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range strings.Split(string(text), "\n") {
			request, _, _ := strings.Cut(l, " ")
			if strings.HasPrefix(l, "'") || (strings.HasPrefix(l, ".") && !known[request]) {
				t.Errorf("%s:%d: %q is a request", filepath.Base(p), i+1, l)
			}
		}
	}
}

// TestExitCodesPage holds docs/exit-codes.md to the codes that there are.
func TestExitCodesPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "exit-codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[int]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(m[1])
		told[n] = true
	}
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitFault, exitTimedOut, exitCanceled} {
		if !told[code] {
			t.Errorf("exit code %d has no row", code)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"run", "run", 0}, {"rnu", "run", 1}, {"evn", "env", 1}, {"secrt", "secret", 1}, {"lint", "plan", 3}, {"", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := didYouMean("xyzzy", []string{"run", "lint"}, ""); got != "" {
		t.Errorf("got %q for a word like no other", got)
	}
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"": 0, "512m": 512 << 20, "2g": 2 << 30, "2GiB": 2 << 30, "1.5GB": 3 << 29, "1024": 1024, "64 k": 64 << 10, "7b": 7} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"lots", "-1g", "0", "m", "1x", "1gg", "99999999t", "NaN", "1e400"} {
		if got, err := parseBytes(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func TestProjectName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/home/me/my app": "my-app", "https://h/x/tool.git": "tool", "git@h:team/tool.git": "tool", "git@h:tool.git": "tool", "/": "project", "/..": "project",
	} {
		if got := projectName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
