package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Bounds of what is remembered of tests that have not ended.
const (
	maxRunning = 20_000
	maxOutput  = 32 << 20 // bytes of names and output, over all of them
)

// goTest reads the events of `go test -json`. Sub-tests are cases of their own,
// as `go test -v` counts them.
type goTest struct {
	f       *file
	running map[goKey]*goRun
	seq     int
	held    int
	odd     int
	events  int
}

type goKey struct{ pkg, test string } // test is "" for the package itself

func (k goKey) size() int { return len(k.pkg) + len(k.test) }

type goRun struct {
	seq    int
	out    kept
	failed bool   // of a package: one of its tests failed
	last   string // of a package: the test that began last
}

type goEvent struct {
	action, pkg, test, output string
	broken                    string // the package because of which this one did not compile
	elapsed                   time.Duration
}

func readGoTest(f *file) error {
	g := &goTest{f: f, running: map[goKey]*goRun{}}
	err := eachLine(f.t, g.line)
	if err == nil && g.events == 0 {
		err = fmt.Errorf("line 1: no event of go test -json is in it")
	}
	g.unfinished("", "", func(k goKey) bool {
		p := g.running[goKey{pkg: k.pkg}]
		return isBenchmark(k) && p != nil && p.last != k.test
	})
	return err
}

func (g *goTest) line(n int, line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	e, err := parseEvent(line)
	if err != nil {
		// What go itself says of packages it cannot load goes between the events.
		if g.odd++; g.odd <= 3 {
			g.f.note(n, fmt.Sprintf("%q is no event of go test -json", clean(line, 80)))
		}
		return nil
	}
	g.events++
	switch e.action {
	case "run", "start":
		g.run(e)
		if p := g.run(goEvent{pkg: e.pkg}); p != nil {
			p.last = e.test
		}
	case "output", "build-output":
		g.keep(e)
	case "pass", "fail", "skip":
		g.done(e)
	}
	return nil
}

// run finds what is remembered of a test, or begins to remember it; nil when too
// much is remembered already.
func (g *goTest) run(e goEvent) *goRun {
	key := goKey{e.pkg, e.test}
	if r, ok := g.running[key]; ok {
		return r
	}
	if len(g.running) >= maxRunning || g.held+key.size() > maxOutput {
		return nil
	}
	g.seq++
	r := &goRun{seq: g.seq, out: kept{max: maxText}}
	g.running[key] = r
	g.held += key.size()
	return r
}

// forget answers what was remembered of a test, for the last time.
func (g *goTest) forget(key goKey) *goRun {
	r, ok := g.running[key]
	if !ok {
		return &goRun{}
	}
	delete(g.running, key)
	g.held -= key.size() + len(r.out.b)
	return r
}

// keep holds output back in case the test fails.
func (g *goTest) keep(e goEvent) {
	r := g.run(e)
	if r == nil || isFrame(e.output) || g.held+len(e.output) > maxOutput {
		return
	}
	before := len(r.out.b)
	r.out.add([]byte(e.output))
	g.held += len(r.out.b) - before
}

// isFrame says whether a line is go test's own, as "=== RUN   TestX". Others begin
// with such marks too: those of a diff.
func isFrame(line string) bool {
	line = strings.TrimLeft(line, " ")
	for _, mark := range [...]string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME ", "--- PASS: ", "--- FAIL: ", "--- SKIP: ", "--- BENCH: "} {
		if strings.HasPrefix(line, mark) {
			return true
		}
	}
	return false
}

func (g *goTest) done(e goEvent) {
	r := g.forget(goKey{e.pkg, e.test})
	c := ci.TestCase{Suite: e.pkg, Prefix: e.pkg, Name: e.test, Duration: e.elapsed, Message: strings.TrimSpace(string(r.out.b))}
	switch e.action {
	case "pass":
		c.Status, c.Message = ci.TestSucceeded, ""
	case "fail":
		c.Status = ci.TestFailed
	default:
		c.Status = ci.TestSkipped
	}
	if e.test != "" {
		if p := g.run(goEvent{pkg: e.pkg}); p != nil && c.Status == ci.TestFailed {
			p.failed = true
		}
		g.f.add(c)
		return
	}
	if b := g.running[goKey{pkg: e.broken}]; b != nil && e.broken != e.pkg {
		c.Message = detail(string(b.out.b), c.Message)
	}
	unfinished := g.unfinished(e.pkg, c.Message, func(k goKey) bool { return e.action == "pass" || isBenchmark(k) && (r.failed || r.last != k.test) })
	if e.action == "fail" && !r.failed && !unfinished { // it did not compile, or TestMain said no
		c.Status, c.Name = ci.TestError, e.pkg
		g.f.add(c)
	}
}

// isBenchmark: go test says of no benchmark that it passed. It has when another
// began after it, or when its package passed.
func isBenchmark(k goKey) bool { return strings.HasPrefix(k.test, "Benchmark") }

// unfinished adds the tests of a package, or of all, that began and did not end,
// and says whether one of them has not passed. The last of these was running when
// the package broke; what it printed tells why.
func (g *goTest) unfinished(pkg, why string, passed func(goKey) bool) bool {
	var keys []goKey
	for k := range g.running {
		if pkg == "" || k.pkg == pkg {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b goKey) int { return cmp.Compare(g.running[a].seq, g.running[b].seq) })
	broke := false
	for _, k := range keys {
		if k.test == "" {
			continue
		}
		c := ci.TestCase{Suite: k.pkg, Prefix: k.pkg, Name: k.test, Status: ci.TestSucceeded}
		if !passed(k) {
			broke = true
			c.Status = ci.TestError
			c.Message = detail("it did not end", detail(why, string(g.running[k].out.b)))
		}
		g.f.add(c)
	}
	for _, k := range keys {
		g.forget(k)
	}
	return broke
}

func parseEvent(line string) (goEvent, error) {
	j := newJSON(&text{buf: []byte(line), end: len(line), err: io.EOF})
	var e goEvent
	if j.kind() != '{' {
		return e, errCut
	}
	err := j.members(func(key string) (err error) {
		switch key {
		case "Action":
			e.action, err = j.text()
		case "Package":
			e.pkg, err = j.text()
		case "ImportPath": // of a build: "pkg [pkg.test]"
			e.pkg, err = j.text()
			e.pkg, _, _ = strings.Cut(e.pkg, " ")
		case "FailedBuild":
			e.broken, err = j.text()
			e.broken, _, _ = strings.Cut(e.broken, " ")
		case "Test":
			e.test, err = j.text()
		case "Output":
			e.output, err = j.text()
		case "Elapsed":
			var n string
			n, err = j.number()
			e.elapsed = seconds(n)
		default:
			err = j.skip()
		}
		return err
	})
	if err == nil && e.action == "" {
		err = errCut
	}
	return e, err
}
