package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The summary is tried on what the real go command says of a real module.
const module = "module example.com/m\n\ngo 1.26\n"

var files = map[string]string{
	"good/good_test.go": `package good

import "testing"

func TestFine(t *testing.T) { t.Run("part", func(t *testing.T) {}) }
func TestMissing(t *testing.T) { t.Skip("no engine: start one") }
func TestHelper(t *testing.T) { t.SkipNow() }
func FuzzSeeds(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, n int) { t.Skip("odd") }) }
`,
	"bad/bad_test.go": `package bad

import "testing"

func TestWrong(t *testing.T) { t.Log("got 1, want 2"); t.Fail() }
func TestRight(t *testing.T) {}
`,
	"panics/panics_test.go": `package panics

import "testing"

func TestPanic(t *testing.T) { panic("what now") }
`,
	"broken/broken_test.go": `package broken

func f() { undefined() }
`,
}

func summaryOf(t *testing.T, rules string, strict bool, packages ...string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		for _, p := range packages {
			if strings.HasPrefix(name, p+"/") {
				write(t, filepath.Join(dir, name), text)
			}
		}
	}
	write(t, filepath.Join(dir, "go.mod"), module)
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	events, _ := cmd.Output() // exits 1 when a test failed
	allowed, err := readRules(strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	ok, err := summarize(bufio.NewReader(strings.NewReader(string(events))), &out, allowed, strict)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), ok
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%q is missing in:\n%s", p, got)
		}
	}
}

func TestSkips(t *testing.T) {
	t.Parallel()
	got, ok := summaryOf(t, "good TestHelper: runs in a process of its own\n", true, "good")
	wants(t, got, "ok  \texample.com/m/good", "Skipped:\n  good TestMissing: no engine: start one\n",
		"Skipped by design:\n  good TestHelper: runs in a process of its own\n", "\n3 passed, 0 failed, 1 skipped\n")
	if ok {
		t.Error("a skip was let through with -strict")
	}
	got, ok = summaryOf(t, "good Test[HM]*: meant\n", true, "good")
	wants(t, got, "\n3 passed, 0 failed, 0 skipped\n")
	if !ok {
		t.Error("an allowed skip was not let through")
	}
	if _, ok = summaryOf(t, "", false, "good"); !ok {
		t.Error("a skip was not let through without -strict")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	got, ok := summaryOf(t, "", false, "good", "bad", "panics", "broken")
	wants(t, got, "ok  \texample.com/m/good", "FAIL\texample.com/m/bad", "got 1, want 2", "panic: what now",
		"undefined: undefined", "FAIL\texample.com/m/broken", "[build failed]", "Failed packages:")
	if ok {
		t.Error("failures were let through")
	}
	if !strings.HasSuffix(got, "failed, 2 skipped\n") || strings.Contains(got, " 0 failed") {
		t.Errorf("the last line does not count: %q", got[max(0, len(got)-80):])
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	if got, ok := summaryOf(t, "", false); ok {
		t.Errorf("a run without any test was let through:\n%s", got)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"pkg Test", "pkg Test:", "pkg: why", "a b c: why"} {
		if _, err := readRules(strings.NewReader("# fine\n\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%q: got %v, want an error for line 3", bad, err)
		}
	}
	r := rule{pkg: "executor/local", test: "TestSuite/*/as-user"}
	if !r.allows("example.com/m/internal/executor/local", "TestSuite/a/b/as-user") {
		t.Error("a star does not take slashes")
	}
	if r.allows("example.com/m/internal/executor/localhost", "TestSuite/a/as-user") || r.allows("example.com/m/internal/executor/local", "TestSuite/a") {
		t.Error("a rule allows what it does not name")
	}
}
