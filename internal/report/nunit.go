package report

import (
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// nunit reads the XML of NUnit 2 and of NUnit 3. Both nest suites around cases.
type nunit struct {
	f       *file
	root    string // test-results or test-run
	version int
	suites  []nunitSuite
	inCase  bool
	c       ci.TestCase
	message string
	stack   string
}

// nunitSuite is an open test-suite.
type nunitSuite struct {
	name    string
	failed  bool
	before  int // cases that had failed before it
	message string
}

func readNUnit2(f *file) error { return (&nunit{f: f, version: 2, root: "test-results"}).read() }

func readNUnit3(f *file) error { return (&nunit{f: f, version: 3, root: "test-run"}).read() }

func (n *nunit) read() error {
	err := newXML(n.f.t, n.f.bad).each(n, n.root, "test-suite")
	if err != nil && n.inCase && bad(n.c.Status) {
		n.endCase()
	}
	return err
}

func (n *nunit) begin(x *xmlScanner) {
	switch x.name {
	case "test-suite":
		n.suites = append(n.suites, nunitSuite{name: clean(x.attr("name"), MaxTitle), failed: suiteFailed(x), before: n.failures()})
	case "test-case":
		n.inCase = true
		if n.version == 2 {
			n.case2(x)
		} else {
			n.case3(x)
		}
		if len(n.suites) > 0 {
			n.c.Suite = n.suites[len(n.suites)-1].name
		}
	case "message", "stack-trace":
		if n.explains(x) {
			x.want()
		}
	}
}

func (n *nunit) case2(x *xmlScanner) {
	prefix, name := splitMethod(x.attr("name"))
	n.c = ci.TestCase{Prefix: prefix, Name: name, Duration: seconds(x.attr("time"))}
	result := x.attr("result")
	if result == "" { // before NUnit 2.5
		switch {
		case strings.EqualFold(x.attr("executed"), "false"):
			result = "Ignored"
		case strings.EqualFold(x.attr("success"), "true"):
			result = "Success"
		case strings.EqualFold(x.attr("success"), "false"):
			result = "Failure"
		}
	}
	switch strings.ToLower(result) {
	case "success", "passed":
		n.c.Status = ci.TestSucceeded
	case "failure", "failed":
		n.c.Status = ci.TestFailed
	case "error", "notrunnable", "invalid", "cancelled":
		n.c.Status = ci.TestError
	case "ignored", "skipped":
		n.c.Status = ci.TestSkipped
	default: // Inconclusive
		n.c.Status = ci.TestUnknown
	}
}

func (n *nunit) case3(x *xmlScanner) {
	prefix, name := splitMethod(x.attr("fullname"))
	if class := x.attr("classname"); class != "" {
		prefix = class
	}
	if short := x.attr("name"); short != "" {
		name = short
	}
	n.c = ci.TestCase{Prefix: prefix, Name: name, Duration: seconds(x.attr("duration"))}
	switch strings.ToLower(x.attr("result")) {
	case "passed", "warning":
		n.c.Status = ci.TestSucceeded
	case "failed":
		n.c.Status = ci.TestFailed
		if label := x.attr("label"); label == "Error" || label == "Invalid" || label == "Cancelled" {
			n.c.Status = ci.TestError
		}
	case "skipped":
		n.c.Status = ci.TestSkipped
	default:
		n.c.Status = ci.TestUnknown
	}
}

func (n *nunit) end(x *xmlScanner) {
	switch x.name {
	case "test-suite":
		n.endSuite()
	case "test-case":
		if n.inCase {
			n.endCase()
		}
	case "message":
		if n.explains(x) {
			n.message = x.text()
		}
	case "stack-trace":
		if n.explains(x) {
			n.stack = x.text()
		}
	case "failure", "reason":
		if i := len(n.suites) - 1; i >= 0 && !n.inCase {
			n.suites[i].message = clean(detail(n.message, n.stack), MaxMessage)
			n.message, n.stack = "", ""
		}
	}
}

// explains says whether the element is a part of what a case or suite says of its
// outcome. NUnit 3 says it once more in assertions.
func (n *nunit) explains(x *xmlScanner) bool {
	return x.parent() == "failure" || x.parent() == "reason"
}

func suiteFailed(x *xmlScanner) bool {
	switch strings.ToLower(x.attr("result")) {
	case "failure", "failed", "error", "notrunnable", "invalid", "cancelled":
		return true
	case "": // before NUnit 2.5
		return strings.EqualFold(x.attr("success"), "false")
	}
	return false
}

// failures counts the cases that failed so far.
func (n *nunit) failures() int { return n.f.b.r.Summary.Failed + n.f.b.r.Summary.Error }

// endSuite adds a suite that failed by itself, in its tear-down or because it could
// not be loaded: no case within it tells.
func (n *nunit) endSuite() {
	i := len(n.suites) - 1
	if i < 0 {
		return
	}
	if s := n.suites[i]; s.failed && s.before == n.failures() {
		n.f.add(ci.TestCase{Suite: s.name, Name: s.name, Status: ci.TestError, Message: s.message})
	}
	n.suites = n.suites[:i]
}

func (n *nunit) endCase() {
	n.c.Message = detail(n.message, n.stack)
	n.f.add(n.c)
	n.inCase, n.message, n.stack = false, "", ""
}

// splitMethod cuts "Space.Class.Method(1.5, \"a.b\")" before the method.
func splitMethod(full string) (prefix, name string) {
	head := full
	if i := strings.IndexAny(full, "(\"<"); i >= 0 {
		head = full[:i]
	}
	i := strings.LastIndexByte(head, '.')
	if i < 0 || i == len(full)-1 {
		return "", full
	}
	return full[:i], full[i+1:]
}
