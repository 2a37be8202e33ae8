package report

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestNUnitAssertions: NUnit lists the assertions of a failed test once more
// after its failure; what the failure said must not be lost to them.
func TestNUnitAssertions(t *testing.T) {
	t.Parallel()
	r := parse(t, "NUNIT3XML", "x.xml", `<test-run><test-case name="a" result="Failed"><failure><message>no</message><stack-trace>at A.cs:1</stack-trace></failure>
<assertions><assertion result="Failed"><message>again</message><stack-trace>at A.cs:1</stack-trace></assertion></assertions></test-case></test-run>`)
	wantCase(t, r, "a", ci.TestFailed, "no\nat A.cs:1")
}
