package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// maxClasses bounds what is remembered of test definitions.
const maxClasses = 50_000

// trx reads Visual Studio's test results. Results and definitions come in either
// order, so the classes of tests are put in at the end.
type trx struct {
	f       *file
	open    []result // a data-driven test has one result for each row within it
	classes map[string]string
	unit    string // id of the UnitTest being read
	message string
	stack   string
	run     bool // in a RunInfo that is an error
}

type result struct {
	ref   string
	inner bool // it has results within it and is itself only their sum
	c     ci.TestCase
}

func readTRX(f *file) error {
	t := &trx{f: f, classes: map[string]string{}}
	err := newXML(f.t, f.bad).each(t, "TestRun")
	if err != nil {
		for _, r := range t.open {
			if bad(r.c.Status) && !r.inner {
				f.addAs(r.ref, r.c)
			}
		}
	}
	for _, list := range [][]numbered{f.b.failed, f.b.other} {
		for i := range list {
			if c := &list[i]; c.Source == f.name && c.ref != "" {
				c.Prefix = t.classes[c.ref]
				if rest, ok := strings.CutPrefix(c.Name, c.Prefix+"."); ok && rest != "" {
					c.Name = rest
				}
				c.ref = ""
			}
		}
	}
	return err
}

func (t *trx) begin(x *xmlScanner) {
	switch x.name {
	case "UnitTestResult", "TestResult", "GenericTestResult", "WebTestResult", "TestResultAggregation":
		for i := range t.open {
			t.open[i].inner = true
		}
		t.message, t.stack = "", ""
		t.open = append(t.open, result{ref: testID(x.attr("testId")), c: ci.TestCase{
			Name: x.attr("testName"), Status: trxStatus(x.attr("outcome")), Duration: clock(x.attr("duration"))}})
	case "Message", "StackTrace":
		if len(t.open) > 0 && x.parent() == "ErrorInfo" {
			x.want()
		}
	case "UnitTest":
		t.unit = testID(x.attr("id"))
	case "TestMethod":
		if x.parent() == "UnitTest" && len(t.classes) < maxClasses {
			class, _, _ := strings.Cut(x.attr("className"), ",") // an assembly may follow
			t.classes[t.unit] = clean(strings.TrimSpace(class), MaxTitle)
		}
	case "RunInfo":
		t.run = x.attr("outcome") == "Error" || x.attr("outcome") == "Failed"
	case "Text":
		if t.run && x.parent() == "RunInfo" {
			x.want()
		}
	}
}

func (t *trx) end(x *xmlScanner) {
	switch x.name {
	case "Message":
		if x.parent() == "ErrorInfo" {
			t.message = x.text()
		}
	case "StackTrace":
		if x.parent() == "ErrorInfo" {
			t.stack = x.text()
		}
	case "ErrorInfo":
		if n := len(t.open); n > 0 {
			t.open[n-1].c.Message = detail(t.message, t.stack)
			t.message, t.stack = "", ""
		}
	case "Text":
		// The run itself broke (a crashed test host): without this, the tests that
		// never ran would not be missed.
		if t.run && x.parent() == "RunInfo" {
			t.f.add(ci.TestCase{Suite: "test run", Name: "test run", Status: ci.TestError, Message: strings.TrimSpace(x.text())})
		}
	case "UnitTestResult", "TestResult", "GenericTestResult", "WebTestResult", "TestResultAggregation":
		n := len(t.open) - 1
		if n < 0 {
			return
		}
		if r := t.open[n]; !r.inner {
			t.f.addAs(r.ref, r.c)
		}
		t.open = t.open[:n]
	}
}

// testID bounds what is remembered of an id, which is a GUID.
func testID(s string) string { return clean(s, maxName) }

func trxStatus(outcome string) string {
	switch outcome {
	case "Passed", "PassedButRunAborted", "Warning", "Completed":
		return ci.TestSucceeded
	case "Failed":
		return ci.TestFailed
	case "Error", "Timeout", "Aborted", "NotRunnable", "Disconnected":
		return ci.TestError
	case "NotExecuted", "Pending":
		return ci.TestSkipped
	}
	return ci.TestUnknown // Inconclusive, InProgress
}

// clock reads "[days.]hours:minutes:seconds.fraction".
func clock(s string) time.Duration {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0
	}
	days, hours, ok := strings.Cut(parts[0], ".")
	if !ok {
		days, hours = "0", parts[0]
	}
	total := 0.0
	for _, p := range []struct {
		s    string
		unit float64
	}{{days, 86400}, {hours, 3600}, {parts[1], 60}, {parts[2], 1}} {
		v, err := strconv.ParseFloat(p.s, 64)
		if err != nil {
			return 0
		}
		total += v * p.unit
	}
	return scale(total, time.Second)
}
