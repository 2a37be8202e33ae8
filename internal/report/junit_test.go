package report

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestUnclosedCase: a failed case that is never closed is not lost to the next one.
func TestUnclosedCase(t *testing.T) {
	t.Parallel()
	r := parse(t, "JUNITXML", "x.xml", "<testsuite><testcase name='a'><failure>no</failure><testcase name='b'></testcase></testsuite>")
	wantSummary(t, r, ci.TestSummary{Total: 2, Succeeded: 1, Failed: 1})
	wantCase(t, r, "a", ci.TestFailed, "no")
	if r.Status != Failed || len(r.Problems) != 1 {
		t.Errorf("%s, problems %q; want one, of the tag that is missing", r.Status, r.Problems)
	}
}
