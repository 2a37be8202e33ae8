package report

import (
	"runtime"
	"strings"
	"testing"
)

// TestJaCoCoGroups: groups within groups cost no more than the path that is
// kept. It is not parallel, since it counts allocations.
func TestJaCoCoGroups(t *testing.T) {
	const deep = 900
	file := `<sourcefile name="A.java"><line nr="1" ci="1"/></sourcefile>`
	doc := "<report>" + strings.Repeat(`<group name="`+strings.Repeat("g", MaxTitle)+`">`, deep) + strings.Repeat(file, 100) + strings.Repeat("</group>", deep) +
		`<group name="b"><group name="c"><package name="p">` + file + "</package></group></group></report>"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := parse(t, "JACOCOXML", "x.xml", doc)
	runtime.ReadMemStats(&after)
	if len(r.Sources) != 2 || len(r.Sources[1].Path) != MaxTitle || r.Sources[0].Path != "b/c/p/A.java" {
		t.Errorf("sources %.200v", r.Sources)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
		t.Errorf("%d MB were allocated for a file of %d KB", took>>20, len(doc)>>10)
	}
}

// TestWrongRoot: a file of another format says which, and is passed over, even if
// what is within it has the names of this one; what follows it is read.
func TestWrongRoot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, content, problem string }{
		{"JUNITXML", "<test-run><testcase name='a'><failure/></testcase></test-run>", "x:1: <test-run> is the root of another format; want <testsuites> or <testsuite> or <testcase>, or set file-format: NUNIT3XML"},
		{"NUNITXML", "<testsuites><test-case name='a' result='Failure'/></testsuites>", "x:1: <testsuites> is the root of another format; want <test-results> or <test-suite>, or set file-format: JUNITXML"},
		{"NUNIT3XML", "<html><test-case name='a' result='Failed'/></html>", "x:1: <html> is not a report that is known; want <test-run> or <test-suite>"},
		{"TESTNGXML", "\n<coverage><test-method name='a' status='FAIL'/></coverage>", "x:2: <coverage> is the root of another format; want <testng-results>, or set file-format: COBERTURAXML or CLOVERXML"},
		{"VISUALSTUDIOTRX", "<report><UnitTestResult testName='a' outcome='Failed'/></report>", "x:1: <report> is the root of another format; want <TestRun>, or set file-format: JACOCOXML"},
		{"JACOCOXML", "<testng-results><sourcefile name='a'/></testng-results>", "x:1: <testng-results> is the root of another format; want <report>, or set file-format: TESTNGXML"},
		{"COBERTURAXML", "<coverage><project><class filename='a'/></project></coverage>", "x:1: this is a Clover report; set file-format: CLOVERXML"},
		{"CLOVERXML", "<coverage><packages><file name='a'/></packages></coverage>", "x:1: this is a Cobertura report; set file-format: COBERTURAXML"},
	} {
		r := parse(t, c.format, "x", c.content)
		if r.Status != Incomplete || len(r.Cases)+len(r.Sources) > 0 || len(r.Problems) != 1 || r.Problems[0] != c.problem {
			t.Errorf("%s: %s, %d cases, problems %q; want %q", c.format, r.Status, len(r.Cases), r.Problems, c.problem)
		}
	}
	r := parse(t, "JUNITXML", "x", "<html/><testsuite><testcase name='a'/></testsuite>")
	if len(r.Problems) != 1 || len(r.Cases) != 1 {
		t.Errorf("after another root: %+v", r)
	}
}
