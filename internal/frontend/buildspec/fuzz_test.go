package buildspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
)

// checkCompile holds what is true of every text, good or bad.
func checkCompile(t *testing.T, def ci.Definition) {
	t.Helper()
	plan, err := New().Compile(def)
	again, errAgain := New().Compile(def)
	if !reflect.DeepEqual(plan, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
		t.Fatalf("two compilations differ: %v and %v", err, errAgain)
	}
	problems := ci.Problems{}
	switch {
	case err == nil:
		problems = plan.Warnings
		checkPlan(t, plan)
	case plan != nil:
		t.Fatal("a plan beside problems")
	case !errors.As(err, &problems) || !problems.Fatal() || !errors.Is(err, ci.ErrInvalid):
		t.Fatalf("refused without a fatal problem: %v", err)
	}
	lint := Lint(def)
	if err == nil && problems.Fatal() {
		t.Fatal("a plan with errors among its warnings")
	}
	checkPlaces(t, def, problems)
	checkPlaces(t, def, lint)
}

func checkPlan(t *testing.T, plan *ci.Plan) {
	t.Helper()
	names := map[string]bool{}
	for _, j := range plan.Jobs {
		if err := ci.CheckJobName(j.Name); err != nil || names[j.Name] {
			t.Fatalf("job name %q: %v, or twice", j.Name, err)
		}
		names[j.Name] = true
		if len(j.Phases) != 4 {
			t.Fatalf("job %s has %d phases", j.Name, len(j.Phases))
		}
	}
	if len(plan.Jobs) == 0 {
		t.Fatal("a plan without jobs")
	}
	for _, j := range plan.Jobs {
		for _, n := range j.Needs {
			if !names[n] {
				t.Fatalf("job %s needs %q, which is not there", j.Name, n)
			}
		}
	}
	data, err := json.Marshal(plan)
	var back ci.Plan
	if err != nil || json.Unmarshal(data, &back) != nil {
		t.Fatalf("the plan is not JSON: %v", err)
	}
	if data2, err := json.Marshal(&back); err != nil || !bytes.Equal(data, data2) {
		t.Fatalf("the plan changes on its way through JSON: %v", err)
	}
}

// checkPlaces: every position is in its file, or says that it is not known.
func checkPlaces(t *testing.T, def ci.Definition, ps ci.Problems) {
	t.Helper()
	for _, p := range ps {
		if p.File != def.Path || p.Line == 0 {
			continue
		}
		lines := strings.Split(string(toUTF8(def.Text)), "\n")
		if p.Line < 1 || p.Line > len(lines) || p.Col < 0 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1 {
			t.Fatalf("%s is outside the file", p)
		}
		if p.Message == "" || strings.Contains(p.Message, "%!") && !bytes.Contains(toUTF8(def.Text), []byte("%!")) {
			t.Fatalf("bad message %q", p.Message)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(c.def.Text, c.def.Batch)
	}
	for _, s := range []string{
		"a: &a [*a]", "batch:", "<<: &x {<<: [*x, *x]}", "\xff\xfev\x00", "version: 0.2\nphases: &p {build: {<<: *p}}",
		"version: 0.2\nphases: {build: {commands: [\"\\0\"]}}", "? {a: b}\n: c", "--- !!map {}\n--- x", "a:\r......!e\n---\n--- x", // a lone CR ends a line for YAML alone
		"%YAML 1.1\n---\nversion: 0.2",
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, batch bool) {
		def := ci.Definition{Path: "buildspec.yml", Text: text, Batch: batch, Parameters: map[string]string{"A": "1"}}
		def.Read = func(path string) ([]byte, error) {
			if path == "child.yml" {
				return []byte("version: 0.2\nphases: {build: {commands: [make]}}"), nil
			}
			return nil, errors.New("no such file")
		}
		checkCompile(t, def)
	})
}

func FuzzFailure(f *testing.F) {
	for _, s := range []string{"ABORT", "RETRY-3-.*", "retry-x", "RETRY-101"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rule, err := parseFailure(s)
		if err == nil && (rule.Action == ci.FailStandard || rule.Retries < 0 || rule.Retries > 100) {
			t.Errorf("%q gives %+v", s, rule)
		}
	})
}

func FuzzBareScript(f *testing.F) {
	f.Add("cat <<EOF\nx\nEOF\necho \"${a:0:1} 'x' \\\" # c\"")
	f.Fuzz(func(t *testing.T, s string) {
		text := bareScript(s)
		if len(text) != len(s) || strings.Count(text, "\n") != strings.Count(s, "\n") {
			t.Errorf("%q became %q: another length or other lines", s, text)
		}
		bashisms(text)
		maskedFailure(text)
	})
}

// TestHostile: texts made to be slow or large are refused, or read, in no time.
func TestHostile(t *testing.T) {
	t.Parallel()
	const head = "version: 0.2\n"
	build := "phases: {build: {commands: [make]}}\n"
	var bomb, merges strings.Builder
	bomb.WriteString("x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\nm0: &m0 {k0: v, k00: v}\n")
	for i := 1; i < 30; i++ {
		prev := strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 9)
		fmt.Fprintf(&bomb, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(prev, ", "))
		fmt.Fprintf(&merges, "m%d: &m%d {k%d: v, <<: [%s]}\n", i, i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*m%d, ", i-1), 9), ", "))
	}
	long := strings.Repeat("x", 500_000)
	list := func(item string, n int) string { return strings.Repeat(item, n) }
	for name, text := range map[string]string{
		"alias bomb as commands": head + bomb.String() + "phases: {build: {commands: *x29}}\n",
		"alias bomb as files":    head + build + bomb.String() + "artifacts: {files: *x29}\n",
		"merge bomb":             head + build + bomb.String() + merges.String() + "env: {variables: *m18}\n",
		"deep flow":              list("[", 500_000),
		"deep maps":              list("{a: ", 200_000),
		"deep block":             list("- ", 400_000),
		"deep in a command":      head + "phases:\n  build:\n    commands:\n      - " + list("[", 9_000) + list("]", 9_000),
		"many unknown keys":      head + build + unique("k%d:\n", 25_000),
		"many near keys":         head + build + unique("phases%d:\n", 25_000),
		"many variables":         head + build + "env:\n  variables:\n" + unique("    v%d: x\n", 25_000),
		"many exports":           head + build + "env:\n  exported-variables:\n" + unique("    - v%d\n", 25_000),
		"many bad commands":      head + "phases:\n  build:\n    commands:\n" + list("      - a: b\n", 25_000),
		"many commands":          head + "phases:\n  build:\n    commands:\n" + list("      - a\n", 50_000),
		"many bad needs":         head + "batch:\n  build-graph:\n" + unique("  - identifier: b%d\n    buildspec: child.yml\n", 900) + "  - identifier: z\n    depend-on:\n" + unique("    - q%d\n", 25_000),
		"many matrix values":     head + build + "batch: {build-matrix: {dynamic: {env: {variables: {A: [" + list("1, ", 100_000) + "1]}}}}}",
		"many axes":              head + build + "batch:\n  build-matrix:\n    dynamic:\n      env:\n        variables:\n" + unique("          v%d: x\n", 25_000),
		"big static variables":   head + build + "batch:\n  build-matrix:\n    static:\n      env:\n        variables:\n" + unique("          v%d: x\n", 1_000) + "    dynamic: {env: {variables: {A: [" + unique("%d, ", 999) + "1]}}}",
		"a huge shared command":  head + "x: &x " + long + "\nphases: {build: {commands: [" + list("*x, ", 1000) + "*x]}}",
		"a huge file, 1000 times": head + "batch: {build-fanout: {parallelism: 1000}}\nphases:\n  build:\n    commands:\n      - " +
			long + "\n",
		"too large":          head + build + "# " + list("x", maxText),
		"long chain":         head + build + "batch:\n  build-graph:\n" + chain(1000),
		"quotes never ended": head + "phases:\n  build:\n    commands:\n      - |\n" + list("        cat <<A \"${\n", 40_000),
	} {
		t.Run(name, func(t *testing.T) {
			def := ci.Definition{Path: "buildspec.yml", Text: []byte(text), Batch: strings.Contains(text, "batch:")}
			def.Read = func(string) ([]byte, error) { return []byte(head + build), nil }
			begin := time.Now()
			plan, err := New().Compile(def)
			lint := Lint(def)
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("%v, %d problems, plan %v", took, len(lint), plan != nil)
			}
			if strings.Contains(name, "bomb") && err == nil {
				t.Error("the bomb compiles")
			}
			if len(lint) > 2*maxProblems {
				t.Errorf("%d problems", len(lint))
			}
		})
	}
}

func unique(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - identifier: b%d\n    depend-on: b%d\n", i, (i+1)%n)
	}
	return b.String()
}
