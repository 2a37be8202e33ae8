package report

import (
	"strconv"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// testNG reads testng-results.xml: suite, test, class, test-method.
type testNG struct {
	f       *file
	suite   string
	test    string
	class   string
	inCase  bool
	config  bool // the method is a set-up or tear-down
	c       ci.TestCase
	kind    string // class of the exception
	message string
	stack   string
}

func readTestNG(f *file) error {
	t := &testNG{f: f}
	err := newXML(f.t, f.bad).each(t, "testng-results")
	if err != nil && t.inCase && bad(t.c.Status) {
		t.endCase()
	}
	return err
}

func (t *testNG) begin(x *xmlScanner) {
	switch x.name {
	case "suite":
		t.suite = x.attr("name")
	case "test":
		t.test = x.attr("name")
	case "class":
		t.class = x.attr("name")
	case "test-method":
		t.beginCase(x)
	case "exception":
		t.kind = x.attr("class")
	case "message", "full-stacktrace", "short-stacktrace":
		if t.inCase && x.parent() == "exception" {
			x.want()
		}
	}
}

func (t *testNG) beginCase(x *xmlScanner) {
	t.inCase, t.config = true, x.attr("is-config") == "true"
	t.kind, t.message, t.stack = "", "", ""
	ms, _ := strconv.ParseFloat(x.attr("duration-ms"), 64)
	t.c = ci.TestCase{Suite: t.suite, Prefix: t.class, Name: x.attr("name"), Duration: scale(ms, time.Millisecond)}
	if t.test != "" && t.test != t.suite {
		t.c.Suite = t.test
	}
	switch x.attr("status") {
	case "PASS":
		t.c.Status = ci.TestSucceeded
	case "FAIL":
		t.c.Status = ci.TestFailed
	case "SKIP":
		t.c.Status = ci.TestSkipped
	default:
		t.c.Status = ci.TestUnknown
	}
}

func (t *testNG) end(x *xmlScanner) {
	if !t.inCase {
		return
	}
	switch x.name {
	case "message":
		t.message = x.text()
	case "full-stacktrace":
		t.stack = x.text()
	case "short-stacktrace":
		if t.stack == "" {
			t.stack = x.text()
		}
	case "test-method":
		t.endCase()
	}
}

// endCase adds the method. Set-up and tear-down are no tests; one that failed is
// an error, because the tests that need it are then only skipped.
func (t *testNG) endCase() {
	t.inCase = false
	if t.config {
		if t.c.Status != ci.TestFailed {
			return
		}
		t.c.Status = ci.TestError
	}
	t.c.Message = detail(t.message, t.stack)
	if t.c.Message == "" {
		t.c.Message = t.kind
	}
	t.f.add(t.c)
}
