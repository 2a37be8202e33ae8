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
