package buildspec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"pgregory.net/rapid"
)

var _ ci.FrontEnd = New()

func TestNames(t *testing.T) {
	t.Parallel()
	f := New()
	if f.Name() != "buildspec" || !slices.Equal(f.Files(), []string{"buildspec.yml", "buildspec.yaml"}) {
		t.Errorf("got %q, %q", f.Name(), f.Files())
	}
}

// TestNoSource: without Read a batch that names other files does not compile,
// and lint leaves them out.
func TestNoSource(t *testing.T) {
	t.Parallel()
	def := ci.Definition{Path: "b.yml", Batch: true, Text: []byte("version: 0.2\nbatch:\n  build-list:\n    - identifier: a\n      buildspec: c.yml\n")}
	_, err := New().Compile(def)
	if err == nil || !errors.Is(err, ci.ErrInvalid) || !strings.HasPrefix(err.Error(), "b.yml:5:18: error: ") {
		t.Errorf("compile says %v, want an error at b.yml:5:18", err)
	}
	if lint := Lint(def); len(lint) != 0 {
		t.Errorf("lint says %v, want nothing", lint)
	}
}

// TestChildIsMain: a build may name the file that it stands in.
func TestChildIsMain(t *testing.T) {
	t.Parallel()
	def := ci.Definition{Path: "ci/b.yml", Batch: true, Text: []byte("version: 0.2\nbatch: {build-list: [{identifier: a, buildspec: ./ci/b.yml}]}\nphases: {build: {commands: [make]}}")}
	plan, err := New().Compile(def)
	if err != nil || len(plan.Jobs) != 1 || plan.Jobs[0].Phases[2].Steps[0].Run != "make" {
		t.Errorf("got %+v, %v", plan, err)
	}
}

// TestJobsShareNothing: changing one job of a matrix does not change another.
func TestJobsShareNothing(t *testing.T) {
	t.Parallel()
	def := ci.Definition{Path: "b.yml", Batch: true, Text: []byte("version: 0.2\nenv: {variables: {F: f}}\nbatch: {build-matrix: {static: {env: {variables: {S: s}}}, dynamic: {env: {variables: {A: [1, 2]}}}}}\nphases: {install: {runtime-versions: {go: $A}}, build: {commands: [make]}}")}
	plan, err := New().Compile(def)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{plan.Jobs[0].Versions[0].Version, plan.Jobs[1].Versions[0].Version}
	if !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("versions are %v, want 1 and 2", got)
	}
	plan.Jobs[0].Own[0].Value, plan.Jobs[0].Variables[0].Value = "changed", "changed"
	if plan.Jobs[1].Own[0].Value == "changed" || plan.Jobs[1].Variables[0].Value == "changed" {
		t.Error("two jobs share their variables")
	}
}

// TestGraphProperty: any acyclic graph compiles with its edges, and one edge
// back makes a cycle that is named.
func TestGraphProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "builds")
		needs := make([][]string, n)
		for i := 1; i < n; i++ {
			for j := range i {
				if rapid.Bool().Draw(t, "edge") {
					needs[i] = append(needs[i], fmt.Sprint("b", j))
				}
			}
		}
		plan, err := New().Compile(graph(needs))
		if err != nil {
			t.Fatalf("an acyclic graph is refused: %v", err)
		}
		for i, j := range plan.Jobs {
			if !slices.Equal(j.Needs, needs[i]) {
				t.Fatalf("%s needs %v, want %v", j.Name, j.Needs, needs[i])
			}
		}
		last := rapid.IntRange(1, n-1).Draw(t, "last")
		needs[last] = []string{"b0"}
		needs[0] = []string{fmt.Sprint("b", last)}
		if _, err := New().Compile(graph(needs)); err == nil || !strings.Contains(err.Error(), "wait for each other") {
			t.Fatalf("a cycle gives %v", err)
		}
	})
}

func graph(needs [][]string) ci.Definition {
	var b strings.Builder
	b.WriteString("version: 0.2\nphases: {build: {commands: [make]}}\nbatch:\n  build-graph:\n")
	for i, ns := range needs {
		fmt.Fprintf(&b, "    - {identifier: b%d, depend-on: [%s]}\n", i, strings.Join(ns, ", "))
	}
	return ci.Definition{Path: "b.yml", Batch: true, Text: []byte(b.String())}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"commands", "finally", "run-as", "on-failure", "env", "phases"}
	for name, want := range map[string]string{
		"comands": "commands", "command": "commands", "Commands": "commands", "on_failure": "on-failure", "onFailure": "on-failure",
		"runas": "run-as", "finaly": "finally", "phase": "phases", "evn": "env", "steps": "", "x": "", "notifications": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestBareScript(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`echo 'a b' c`:             `echo '   ' c`,
		`echo "x ${v:0:7} y"`:      `echo "  ${v:0:7}  "`,
		`a # comment`:              `a          `,
		`a#b $# ${#x}`:             `a#b $# ${#x}`,
		`echo \# \' x`:             `echo \# \' x`,
		"cat <<E\nsource x\nE\nok": "cat <<E\n        \n \nok",
		"cat <<-'E'\n\t[[\n\tE\n":  "cat <<-' '\n   \n  \n",
		"echo \"a\\\nb\" c":        "echo \"  \n \" c",
		"cat <<<word":              "cat <<<word",
	} {
		if got := bareScript(in); got != want {
			t.Errorf("bareScript(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	c := loadCase(b, "testdata/ordinary.txtar")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New().Compile(c.def); err != nil {
			b.Fatal(err)
		}
	}
}
