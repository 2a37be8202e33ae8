package report

import (
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// junit reads the XML that began with Ant and that every tool has its own idea
// of: Surefire with its reruns, pytest, gtest, PHPUnit's nested suites, Node.
type junit struct {
	f       *file
	suites  []string
	inCase  bool
	c       ci.TestCase
	message string // attribute of the element that is being read
	kind    string
	stack   string
	open    string // failure, error, ... below a case, while it is open
	flaky   int
}

func readJUnit(f *file) error {
	j := &junit{f: f}
	x := newXML(f.t, f.bad)
	err := x.each(j, "testsuites", "testsuite", "testcase")
	if err != nil && j.inCase {
		if j.open != "" {
			j.outcome(j.open, string(x.content.b)+j.stack)
		}
		if bad(j.c.Status) {
			j.f.add(j.c) // cut within a case that is known to have failed
		}
	}
	return err
}

func bad(status string) bool { return status == ci.TestFailed || status == ci.TestError }

func (j *junit) begin(x *xmlScanner) {
	switch x.name {
	case "testsuites":
	case "testsuite":
		name := x.attr("name")
		if name == "" && len(j.suites) > 0 {
			name = j.suites[len(j.suites)-1]
		}
		j.suites = append(j.suites, clean(name, MaxTitle))
	case "testcase":
		if j.inCase { // the one before was never closed
			j.f.add(j.c)
		}
		j.beginCase(x)
	case "stackTrace": // of Surefire's flaky elements, which hold the output as well
		if strings.HasPrefix(x.parent(), "flaky") {
			x.want()
		}
	case "failure", "error", "skipped", "ignored", "disabled", "flakyFailure", "flakyError":
		j.stack = ""
		if p := x.parent(); p == "testcase" && j.inCase || p == "testsuite" && !j.inCase {
			j.message, j.kind = x.attr("message"), x.attr("type")
			j.open = x.name
			x.want()
		}
	}
}

func (j *junit) beginCase(x *xmlScanner) {
	j.inCase, j.flaky = true, 0
	j.c = ci.TestCase{
		Suite:    j.suite(),
		Prefix:   x.attr("classname"),
		Name:     x.attr("name"),
		Status:   ci.TestSucceeded,
		Duration: seconds(x.attr("time")),
		File:     x.attr("file"),
		Line:     count(x.attr("line")),
	}
	if j.c.Prefix == "" {
		j.c.Prefix = x.attr("class")
	}
	// gtest says so in attributes only; so do some runners for what they left out.
	status, result := strings.ToLower(x.attr("status")), strings.ToLower(x.attr("result"))
	if status == "notrun" || status == "disabled" || status == "skipped" || result == "skipped" || result == "suppressed" {
		j.c.Status = ci.TestSkipped
	}
}

func (j *junit) suite() string {
	if len(j.suites) == 0 {
		return ""
	}
	return j.suites[len(j.suites)-1]
}

func (j *junit) end(x *xmlScanner) {
	switch x.name {
	case "testsuite":
		if len(j.suites) > 0 {
			j.suites = j.suites[:len(j.suites)-1]
		}
	case "testcase":
		if j.inCase {
			j.f.add(j.c)
			j.inCase = false
		}
	case "stackTrace":
		j.stack = x.text()
	case "failure", "error", "skipped", "ignored", "disabled", "flakyFailure", "flakyError":
		switch p := x.parent(); {
		case p == "testcase" && j.inCase:
			j.outcome(x.name, x.text()+j.stack)
			j.open = ""
		case p == "testsuite" && !j.inCase && (x.name == "failure" || x.name == "error"):
			// A suite that broke as a whole: set-up, or a crash.
			j.c = ci.TestCase{Suite: j.suite(), Name: j.suite()}
			j.outcome("error", x.text())
			j.f.add(j.c)
		}
	}
}

// outcome adds one element below a case. The worst one counts, and a message of a
// failure is kept before that of a skip.
func (j *junit) outcome(element, text string) {
	message := detail(j.message, text)
	if message == "" {
		message = j.kind
	}
	var status string
	switch element {
	case "failure":
		status = ci.TestFailed
	case "error":
		status = ci.TestError
	case "flakyFailure", "flakyError":
		j.flaky++
		if bad(j.c.Status) {
			return
		}
		if j.flaky == 1 {
			j.c.Message = "passed when it was run again; the first time: " + message
		}
		return
	default:
		status = ci.TestSkipped
	}
	if bad(j.c.Status) {
		if bad(status) && len(j.c.Message) < maxText {
			j.c.Message = fmt.Sprintf("%s\n%s", j.c.Message, message)
		}
		if status == ci.TestError {
			j.c.Status = status
		}
		return
	}
	j.c.Status, j.c.Message = status, message
}
