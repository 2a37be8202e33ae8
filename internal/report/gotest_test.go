package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestGoTestDiff: only go test's own lines are left out of a message; lines of a
// diff begin with the same dashes.
func TestGoTestDiff(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	event := func(action, output string) {
		fmt.Fprintf(&b, "{\"Action\":%q,\"Package\":\"p\",\"Test\":\"TestX\",\"Output\":%q}\n", action, output)
	}
	event("run", "")
	for _, line := range []string{"=== RUN   TestX\n", "=== CONT  TestX\n", "    x_test.go:3: differs:\n", "        --- want\n", "        +++ got\n", "=== a heading\n", "--- FAIL: TestX (0.01s)\n"} {
		event("output", line)
	}
	event("fail", "")
	r := parse(t, "GOTESTJSON", "x.jsonl", b.String())
	wantCase(t, r, "TestX", ci.TestFailed, "differs:\n        --- want\n        +++ got\n=== a heading")
	if m := r.Cases[0].Message; strings.Contains(m, "RUN") || strings.Contains(m, "CONT") || strings.Contains(m, "FAIL") {
		t.Errorf("message %q has lines of go test's own", m)
	}
}

// TestGoTestOverflow: tests beyond the number that is remembered do not use up
// what may be remembered of later ones.
func TestGoTestOverflow(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range maxRunning + 10 {
		fmt.Fprintf(&b, "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"T%d\"}\n", i)
	}
	noise := strings.Repeat("x", maxText/2) // the line must not be cut
	for range 3 * maxOutput / maxText {
		fmt.Fprintf(&b, "{\"Action\":\"output\",\"Package\":\"p\",\"Test\":\"lost\",\"Output\":%q}\n", noise)
	}
	fmt.Fprintf(&b, "{\"Action\":\"output\",\"Package\":\"p\",\"Test\":\"T0\",\"Output\":\"why it failed %s\"}\n", noise)
	b.WriteString(`{"Action":"fail","Package":"p","Test":"T0"}` + "\n")
	r := parse(t, "GOTESTJSON", "x.jsonl", b.String())
	wantCase(t, r, "T0", ci.TestFailed, "why it failed")
}

// TestGoBenchmarks: go test writes no end of a benchmark that passed.
func TestGoBenchmarks(t *testing.T) {
	t.Parallel()
	begin := `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"BenchmarkA"}
{"Action":"output","Package":"p","Test":"BenchmarkA","Output":"BenchmarkA-2\t10\t29.00 ns/op\n"}
{"Action":"run","Package":"p","Test":"BenchmarkB"}
{"Action":"output","Package":"p","Test":"BenchmarkB","Output":"panic: boom\n"}
`
	for _, c := range []struct{ name, end, last string }{
		{"the package passed", `{"Action":"pass","Package":"p"}`, ci.TestSucceeded},
		{"the package broke", `{"Action":"fail","Package":"p"}`, ci.TestError},
		{"a later one failed", `{"Action":"fail","Package":"p","Test":"BenchmarkC"}` + "\n" + `{"Action":"fail","Package":"p"}`, ci.TestSucceeded},
		{"the file ends", "", ci.TestError},
	} {
		r := parse(t, "GOTESTJSON", c.name, begin+c.end+"\n")
		wantCase(t, r, "BenchmarkA", ci.TestSucceeded, "")
		wantCase(t, r, "BenchmarkB", c.last, map[string]string{ci.TestError: "boom"}[c.last])
	}
}

// TestGoFailedBuild: what the compiler said of a dependency tells why a package
// has no tests.
func TestGoFailedBuild(t *testing.T) {
	t.Parallel()
	r := parse(t, "GOTESTJSON", "x.jsonl", `{"ImportPath":"b/dep","Action":"build-output","Output":"dep/d.go:2:12: undefined: x\n"}
{"ImportPath":"b/dep","Action":"build-fail"}
{"Action":"start","Package":"b/user"}
{"Action":"output","Package":"b/user","Output":"FAIL\tb/user [build failed]\n"}
{"Action":"fail","Package":"b/user","Elapsed":0,"FailedBuild":"b/dep"}
`)
	wantSummary(t, r, ci.TestSummary{Total: 1, Error: 1})
	wantCase(t, r, "b/user", ci.TestError, "dep/d.go:2:12: undefined: x\nFAIL\tb/user [build failed]")
}
