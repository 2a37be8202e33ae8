package report

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// runTool runs a program in dir. Test tools exit with 1 when a test fails, so an
// exit status alone is no failure here: the report tells.
func runTool(t *testing.T, dir, stdout string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "NO_COLOR=", "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", args, err)
	}
	t.Logf("%q: %v\n%.4000s%.4000s", args, err, out.String(), errs.String())
	if stdout != "" {
		write(t, dir, stdout, out.String())
	}
}

func needTool(t *testing.T, name string, probe ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s on PATH", name)
	}
	if len(probe) > 0 {
		if out, err := exec.CommandContext(t.Context(), name, probe...).CombinedOutput(); err != nil {
			t.Skipf("needs %s %s: %s", name, strings.Join(probe, " "), bytes.TrimSpace(out))
		}
	}
}

// read groups real files, which must be read without a complaint and be found by
// discovery too.
func read(t *testing.T, dir, format string, files ...string) ci.Report {
	t.Helper()
	r := Group(t.Context(), ci.ReportSpec{Group: "real", Format: format}, dir, files)
	if len(r.Problems) > 0 {
		for _, f := range files {
			data, _ := os.ReadFile(filepath.Join(dir, f))
			t.Logf("%s:\n%.3000s", f, data)
		}
		t.Fatalf("problems: %q", r.Problems)
	}
	found, err := Discover(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.Contains(found, Found{format, f}) {
			t.Errorf("discovery finds %v, want %s %s", found, format, f)
		}
	}
	return r
}

// wantCase checks the first case of that name.
func wantCase(t *testing.T, r ci.Report, name, status, message string) {
	t.Helper()
	i := slices.IndexFunc(r.Cases, func(c ci.TestCase) bool { return c.Name == name })
	if i < 0 {
		t.Errorf("no case %q in %+v", name, r.Cases)
		return
	}
	if c := r.Cases[i]; c.Status != status || !strings.Contains(c.Message, message) {
		t.Errorf("case %q: %s, %q; want %s and a message with %q", name, c.Status, c.Message, status, message)
	}
}

func wantSummary(t *testing.T, r ci.Report, want ci.TestSummary) {
	t.Helper()
	want.Duration = r.Summary.Duration // no test knows that one
	if r.Summary != want {
		t.Errorf("summary %+v, want %+v", r.Summary, want)
	}
}

func TestRealGo(t *testing.T) {
	t.Parallel()
	needTool(t, "go")
	dir := t.TempDir()
	write(t, dir, "go.mod", "module example.com/shop\n\ngo 1.21\n")
	write(t, dir, "cart.go", "package shop\n\nfunc Add(a, b int) int {\n\tif a > 100 {\n\t\treturn 100\n\t}\n\treturn a + b\n}\n")
	write(t, dir, "cart_test.go", `package shop

import "testing"

func TestAdd(t *testing.T) {
	t.Run("right", func(t *testing.T) { if Add(1, 2) != 3 { t.Fatal("no") } })
	t.Run("wrong", func(t *testing.T) { t.Errorf("got %d, want <%q>", Add(1, 2), "\x1b[31m4") })
}
func TestSkip(t *testing.T) { t.Skip("needs a moon") }
`)
	write(t, dir, "boom/boom_test.go", "package boom\n\nimport \"testing\"\n\nfunc TestBoom(t *testing.T) { panic(\"boom\") }\n")
	write(t, dir, "broken/broken_test.go", "package broken\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { undefined() }\n")
	runTool(t, dir, "test.jsonl", "go", "test", "-json", "-coverprofile=cover.out", "./...")
	r := read(t, dir, "GOTESTJSON", "test.jsonl")
	wantSummary(t, r, ci.TestSummary{Total: 6, Succeeded: 1, Failed: 3, Error: 1, Skipped: 1})
	wantCase(t, r, "TestAdd/wrong", ci.TestFailed, `got 3, want <"\x1b[31m4">`)
	wantCase(t, r, "TestSkip", ci.TestSkipped, "needs a moon")
	wantCase(t, r, "TestBoom", ci.TestFailed, "panic: boom")
	wantCase(t, r, "example.com/shop/broken", ci.TestError, "undefined")
	c := read(t, dir, "GOCOVER", "cover.out")
	i := slices.IndexFunc(c.Sources, func(s ci.FileCoverage) bool { return s.Path == "example.com/shop/cart.go" })
	if i < 0 || c.Sources[i].LinesCovered < 3 || c.Sources[i].LinesMissed < 1 {
		t.Errorf("coverage: %+v", c.Sources)
	}
}

func TestRealNode(t *testing.T) {
	t.Parallel()
	needTool(t, "node", "--test-reporter=junit", "-e", "0")
	dir := t.TempDir()
	write(t, dir, "cart.js", "exports.add = (a, b) => {\n  if (a > 100) {\n    return 100;\n  }\n  return a + b;\n};\n")
	write(t, dir, "cart.test.js", `const { test, describe, it } = require('node:test');
const assert = require('node:assert');
const { add } = require('./cart.js');
test('top <&> level', () => assert.strictEqual(add(1, 2), 3));
describe('outer', () => {
  it('breaks', () => assert.strictEqual(add(1, 2), 4));
  it('later', { skip: 'no moon' }, () => {});
});
`)
	runTool(t, dir, "", "node", "--test", "--experimental-test-coverage", "--test-reporter=junit", "--test-reporter-destination=junit.xml",
		"--test-reporter=lcov", "--test-reporter-destination=lcov.info", "cart.test.js")
	r := read(t, dir, "JUNITXML", "junit.xml")
	wantSummary(t, r, ci.TestSummary{Total: 3, Succeeded: 1, Failed: 1, Skipped: 1})
	wantCase(t, r, "top <&> level", ci.TestSucceeded, "")
	wantCase(t, r, "breaks", ci.TestFailed, "3 !== 4")
	wantCase(t, r, "later", ci.TestSkipped, "no moon")
	c := read(t, dir, "LCOV", "lcov.info")
	i := slices.IndexFunc(c.Sources, func(s ci.FileCoverage) bool { return filepath.Base(s.Path) == "cart.js" })
	if i < 0 || c.Sources[i].LinesCovered < 3 || c.Sources[i].LinesMissed < 1 || c.Coverage.BranchesCovered == 0 {
		t.Errorf("coverage: %+v", c.Sources)
	}
}

// pySource is a package with a test of each outcome.
func pySource(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, "cart.py", "def add(a, b):\n    if a > 100:\n        return 100\n    return a + b\n")
	write(t, dir, "test_cart.py", `import pytest, cart

def test_right(): assert cart.add(1, 2) == 3

@pytest.mark.parametrize("x", ["<&>", "\x1b[31mred"])
def test_wrong(x):
    print("noise")
    assert cart.add(1, 2) == x

@pytest.fixture
def broken(): raise RuntimeError("no fixture")
def test_setup(broken): pass

@pytest.mark.skip(reason="no moon")
def test_skip(): pass

@pytest.mark.xfail
def test_xfail(): assert False
`)
}

func wantPytest(t *testing.T, r ci.Report) {
	t.Helper()
	wantSummary(t, r, ci.TestSummary{Total: 6, Succeeded: 1, Failed: 2, Error: 1, Skipped: 2})
	wantCase(t, r, "test_wrong[<&>]", ci.TestFailed, "assert 3 == '<&>'")
	wantCase(t, r, "test_setup", ci.TestError, "no fixture")
	wantCase(t, r, "test_skip", ci.TestSkipped, "no moon")
	for _, c := range r.Cases {
		if strings.ContainsAny(c.Name+c.Message, "\x1b") || strings.Contains(c.Message, "noise") && c.Status != ci.TestFailed {
			t.Errorf("case is not clean: %+v", c)
		}
	}
}

func TestRealPytest(t *testing.T) {
	t.Parallel()
	needTool(t, "python3", "-m", "pytest", "--version")
	dir := t.TempDir()
	pySource(t, dir)
	runTool(t, dir, "", "python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml", "-o", "junit_logging=all")
	wantPytest(t, read(t, dir, "JUNITXML", "junit.xml"))
}
