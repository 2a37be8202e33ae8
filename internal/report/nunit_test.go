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

// TestNUnitSuites: a suite that failed by itself is an error, and the suites around
// it that failed because of it are not.
func TestNUnitSuites(t *testing.T) {
	t.Parallel()
	const failure = "<failure><message>no database</message><stack-trace>at B.cs:2</stack-trace></failure>"
	r := parse(t, "NUNIT3XML", "x.xml", `<test-run result="Failed"><test-suite name="All" result="Failed" site="Child"><failure><message>one or more child tests had errors</message></failure>
<test-suite name="TearsDown" result="Failed" label="Error" site="TearDown">`+failure+`<test-case name="a" result="Passed"/></test-suite>
<test-suite name="Unloadable" result="Failed" label="Invalid"><reason><message>no such assembly</message></reason></test-suite>
<test-suite name="Fails" result="Failed" site="Child"><failure><message>child</message></failure><test-case name="b" result="Failed">`+failure+`</test-case></test-suite>
<test-suite name="Passes" result="Passed"><test-case name="c" result="Passed"/></test-suite></test-suite></test-run>`)
	wantSummary(t, r, ci.TestSummary{Total: 5, Succeeded: 2, Failed: 1, Error: 2})
	wantCase(t, r, "TearsDown", ci.TestError, "no database\nat B.cs:2")
	wantCase(t, r, "Unloadable", ci.TestError, "no such assembly")
	wantCase(t, r, "b", ci.TestFailed, "no database")
	r = parse(t, "NUNITXML", "x.xml", `<test-results><test-suite name="Old" executed="True" success="False" result="Error">`+failure+`<results><test-case name="N.a" executed="True" success="True" result="Success"/></results></test-suite></test-results>`)
	wantSummary(t, r, ci.TestSummary{Total: 2, Succeeded: 1, Error: 1})
	wantCase(t, r, "Old", ci.TestError, "no database")
}
