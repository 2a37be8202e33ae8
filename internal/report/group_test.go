package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sluice-ci/sluice/internal/ci"
)

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	write(t, outside, "secret.xml", "<testsuite><testcase name='outside'/></testsuite>")
	write(t, dir, "a/one.xml", "<testsuite name='1'><testcase name='a'/></testsuite>")
	write(t, dir, "a/two.xml", "<testsuite name='2'><testcase name='a'/></testsuite>")
	write(t, dir, "bad.xml", "<testsuite name='3'><testcase name='b'/>")
	if err := os.Symlink(filepath.Join(outside, "secret.xml"), filepath.Join(dir, "link.xml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.xml"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := ci.ReportSpec{Group: "unit", Format: "junitxml", Files: []string{"**/*.xml"}}
	for _, c := range []struct {
		name     string
		files    []string
		status   string
		total    int
		problems []string
	}{
		{"two", []string{"a/one.xml", "a/two.xml"}, Succeeded, 2, nil},
		{"none", nil, Incomplete, 0, []string{"no file matches"}},
		{"gone", []string{"gone.xml"}, Incomplete, 0, []string{"gone.xml: no such file"}},
		{"cut", []string{"a/one.xml", "bad.xml"}, Incomplete, 2, []string{"bad.xml:1: the file ends within <testsuite>"}},
		{"out of the directory", []string{"link.xml", "../x.xml"}, Incomplete, 0, []string{"link.xml: path escapes", "../x.xml: path escapes"}},
		{"no file", []string{"a", "pipe.xml"}, Incomplete, 0, []string{"a: it is not a regular file", "pipe.xml: it is not a regular file"}},
	} {
		r := Group(t.Context(), spec, dir, c.files)
		ok := slices.EqualFunc(r.Problems, c.problems, strings.HasPrefix)
		if r.Status != c.status || r.Summary.Total != c.total || !ok || r.Group != "unit" || r.Format != "JUNITXML" || r.Type != Test {
			t.Errorf("%s: got %+v, want %s, %d cases, problems %q", c.name, r, c.status, c.total, c.problems)
		}
	}
	if r := Group(t.Context(), spec, dir, nil); r.Files == nil {
		t.Error("no files are null in JSON, want an empty list")
	}
	spec.Format = "XUNIT"
	if r := Group(t.Context(), spec, dir, []string{"a/one.xml"}); r.Status != Incomplete || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "use one of JUNITXML") {
		t.Errorf("an unknown format: %+v", r)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ci.ErrTimedOut)
	spec.Format = ""
	if r := Group(ctx, spec, dir, []string{"a/one.xml"}); r.Status != Incomplete || !strings.Contains(strings.Join(r.Problems, ""), "timed out") {
		t.Errorf("canceled: %+v", r)
	}
	if _, err := NewBuilder("g", "nope"); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("unknown format: %v, want ErrInvalid", err)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, f := range Formats() {
		want := Test
		if strings.Contains(f, "COV") || f == "CLOVERXML" || f == "COBERTURAXML" || f == "JACOCOXML" {
			want = Coverage
		}
		if got := Type(strings.ToLower(f)); got != want {
			t.Errorf("type of %s: %q, want %q", f, got, want)
		}
	}
	if Type("nope") != "" {
		t.Error("a format that does not exist has a type")
	}
}

// TestSniffGolden: every golden file that is whole is known by its first KiB.
func TestSniffGolden(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := a.Files[0]
		if got := Sniff(f.Name, f.Data[:min(len(f.Data), sniffSize)]); got != formatOf(a) {
			t.Errorf("%s, %s: %q, want %q", path, f.Name, got, formatOf(a))
		}
	}
	for name, content := range map[string]string{
		"pom.xml": `<?xml version="1.0"?><project><testsuite/></project>`, "phpunit.xml": "<phpunit><testsuites/></phpunit>", "a.json": `{"Action":1}`[:5],
		"b.json": `[{"uri":"x"}]`, "c.xml": "<report/>", "d.xml": "<coverage/>", "e.out": "mode: fast\n", "f.info": "hello", "g": "", "h.xml": "<TestRun/>",
	} {
		if got := Sniff(name, []byte(content)); got != "" {
			t.Errorf("%s: %q, want nothing", name, got)
		}
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	junit := &fstest.MapFile{Data: []byte("<testsuites><testsuite name='s'><testcase name='a'/></testsuite></testsuites>")}
	lcov := &fstest.MapFile{Data: []byte("TN:\nSF:a.c\nDA:1,1\nend_of_record\n")}
	fsys := fstest.MapFS{
		"target/surefire-reports/TEST-a.xml": junit, "target/b.xml": junit, "coverage/lcov.info": lcov,
		"node_modules/x/junit.xml": junit, "vendor/junit.xml": junit, "pkg/testdata/junit.xml": junit, ".git/a.xml": junit,
		"pom.xml": {Data: []byte("<project/>")}, "src/a.txt": junit, "src/B.XML": junit, "empty.xml": {},
		"link.xml": {Data: []byte("target/b.xml"), Mode: os.ModeSymlink | 0o777},
	}
	found, err := Discover(t.Context(), fsys)
	want := []Found{{"LCOV", "coverage/lcov.info"}, {"JUNITXML", "target/b.xml"}, {"JUNITXML", "target/surefire-reports/TEST-a.xml"}}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, %v; want %v", found, err, want)
	}
	if got := AutoGroup("shop", "LCOV"); got != "shop-LCOV-AutoDiscovered" {
		t.Errorf("the group is %q", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ci.ErrCanceled)
	if _, err := Discover(ctx, fsys); !errors.Is(err, ci.ErrCanceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := Discover(t.Context(), os.DirFS(filepath.Join(t.TempDir(), "gone"))); err == nil {
		t.Error("a root that does not exist is no error")
	}
	globs, excludes := DiscoveryGlobs()
	if !slices.Contains(globs, "**/*.xml") || !slices.Contains(excludes, "**/node_modules/**/*") {
		t.Errorf("globs %q, excludes %q", globs, excludes)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	shard := func(n int, status string, failed, passed int, d time.Duration) ci.Report {
		r := ci.Report{Group: fmt.Sprintf("unitBuildFanoutShard%d", n), Type: Test, Format: "JUNITXML", Status: status, Files: []string{fmt.Sprintf("%d.xml", n)},
			Summary: ci.TestSummary{Total: failed + passed, Failed: failed, Succeeded: passed, Duration: d}}
		for i := range failed + passed {
			c := ci.TestCase{Name: fmt.Sprint(n, "-", i), Status: ci.TestSucceeded}
			if i >= passed {
				c.Status = ci.TestFailed
			}
			r.Cases = append(r.Cases, c)
		}
		return r
	}
	ok, bad, cut := shard(1, Succeeded, 0, 300, 5*time.Second), shard(2, Failed, 2, 300, 9*time.Second), shard(3, Incomplete, 0, 1, time.Second)
	m := Merge([]ci.Report{ok, bad}, 2)
	want := ci.TestSummary{Total: 602, Failed: 2, Succeeded: 600, Duration: 9 * time.Second}
	if m.Group != "unit" || m.Status != Failed || m.Summary != want || !m.Truncated || len(m.Cases) != MaxCases || m.Cases[0].Status != ci.TestFailed || m.Cases[2].Status == ci.TestFailed {
		t.Errorf("merged: %s %s %+v truncated %v, %d cases", m.Group, m.Status, m.Summary, m.Truncated, len(m.Cases))
	}
	for _, c := range []struct {
		parts []ci.Report
		want  int
		is    string
	}{
		{[]ci.Report{ok}, 0, Succeeded}, {[]ci.Report{ok}, 1, Succeeded}, {[]ci.Report{ok}, 2, Incomplete}, {[]ci.Report{ok, cut}, 2, Incomplete},
		{[]ci.Report{bad, cut}, 2, Failed}, {[]ci.Report{cut, bad}, 3, Failed}, {nil, 2, Incomplete},
	} {
		if got := Merge(c.parts, c.want); got.Status != c.is {
			t.Errorf("%d parts of %d: %s, want %s", len(c.parts), c.want, got.Status, c.is)
		}
	}
	other := ok
	other.Group = "lint"
	all := MergeAll([]ci.Report{ok, other, bad})
	if len(all) != 2 || all[0].Group != "unit" || all[0].Summary.Total != 602 || all[1].Group != "lint" {
		t.Errorf("merged all: %d reports", len(all))
	}
}

func TestMergeCoverage(t *testing.T) {
	t.Parallel()
	cov := func(path string, n ...int) ci.FileCoverage {
		return ci.FileCoverage{Path: path, Coverage: ci.Coverage{LinesCovered: n[0], LinesMissed: n[1], BranchesCovered: n[2], BranchesMissed: n[3]}}
	}
	part := func(s ...ci.FileCoverage) ci.Report {
		return ci.Report{Group: "c", Type: Coverage, Format: "LCOV", Status: Succeeded, Sources: s}
	}
	m := Merge([]ci.Report{part(cov("a", 5, 5, 0, 0), cov("b", 1, 1, 1, 3)), part(cov("a", 8, 2, 0, 0), cov("b", 1, 1, 3, 1), cov("c", 1, 0, 0, 0)), part(cov("a", 2, 8, 0, 0))}, 3)
	want := []ci.FileCoverage{cov("a", 8, 2, 0, 0), cov("b", 1, 1, 3, 1), cov("c", 1, 0, 0, 0)}
	sum := ci.Coverage{LinesCovered: 10, LinesMissed: 3, BranchesCovered: 3, BranchesMissed: 1}
	if !slices.Equal(m.Sources, want) || m.Coverage != sum || m.Status != Succeeded {
		t.Errorf("got %+v, %+v, want %+v, %+v", m.Sources, m.Coverage, want, sum)
	}
}

// canceling cancels once it was read from.
type canceling struct {
	io.Reader
	cancel context.CancelCauseFunc
}

func (c canceling) Read(p []byte) (int, error) {
	defer c.cancel(ci.ErrTimedOut)
	return c.Reader.Read(p)
}

// TestCanceledWithinFile: a file of any size does not hold up a build that is to stop.
func TestCanceledWithinFile(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	endless := canceling{stream("<testsuite><testcase name='a'/><system-out>", "noise ", 1<<62, ""), cancel}
	r, err := Parse("g", "JUNITXML", "x", stoppable{ctx, endless})
	if err != nil || r.Status != Incomplete || len(r.Cases) != 1 || len(r.Problems) != 1 || r.Problems[0] != "x:1: timed out" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestMergeProblems: what is not kept is counted.
func TestMergeProblems(t *testing.T) {
	t.Parallel()
	part := ci.Report{Group: "g", Status: Incomplete, Problems: slices.Repeat([]string{"x:1: no"}, 30)}
	m := Merge([]ci.Report{part, part}, 0)
	if len(m.Problems) != maxProblems+1 || m.Problems[maxProblems] != "and 10 more problems" {
		t.Errorf("%d problems, the last %q", len(m.Problems), m.Problems[len(m.Problems)-1])
	}
}
