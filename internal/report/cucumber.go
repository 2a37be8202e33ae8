package report

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// cucumber reads the JSON of Cucumber's formatters (JVM, Ruby, JS, Go) and of
// Behave. One scenario is one case; a background belongs to what follows it.
type cucumber struct {
	f       *file
	j       *jsonScanner
	feature string
	uri     string
	back    scenario // the background that came last
	pending []scenario
}

// scenario is an element of a feature.
type scenario struct {
	kind, keyword, name, file string
	line                      int
	status                    string // worst of its steps
	rank                      int
	message                   string
	steps                     int
	broken                    bool // it says itself that it failed
	duration                  time.Duration
}

// maxPending bounds the scenarios held back until their feature's name is known,
// which some writers put last.
const maxPending = 1_000

func readCucumber(f *file) error {
	c := &cucumber{f: f, j: newJSON(f.t)}
	if c.j.kind() != '[' {
		return c.j.wrong("the list of features that Cucumber's JSON formatter writes")
	}
	err := c.j.elements(c.readFeature)
	c.flush()
	if err != nil {
		return err
	}
	return c.j.done()
}

func (c *cucumber) readFeature() error {
	c.feature, c.uri, c.back = "", "", scenario{}
	err := c.j.members(func(key string) (err error) {
		switch key {
		case "name":
			c.feature, err = c.j.text()
		case "uri":
			c.uri, err = c.j.text()
		case "location": // Behave: "features/a.feature:1"
			var at string
			at, err = c.j.text()
			c.uri, _ = splitLocation(at)
		case "elements":
			err = c.j.elements(c.readElement)
		default:
			err = c.j.skip()
		}
		return err
	})
	c.flush()
	return err
}

// flush adds the scenarios of the feature that has ended.
func (c *cucumber) flush() {
	for _, s := range c.pending {
		t := ci.TestCase{Suite: c.feature, Prefix: c.feature, Name: s.name, Status: s.status,
			Duration: s.duration, Message: s.message, File: s.file, Line: s.line}
		if t.File == "" {
			t.File = c.uri
		}
		if t.Name == "" {
			t.Name = strings.TrimSpace(s.keyword + " " + strconv.Itoa(s.line))
		}
		c.f.add(t)
	}
	c.pending = c.pending[:0]
}

func (c *cucumber) readElement() error {
	var s scenario
	err := c.j.members(func(key string) (err error) {
		switch key {
		case "type":
			s.kind, err = c.j.text()
		case "keyword":
			s.keyword, err = c.j.text()
		case "name":
			s.name, err = c.j.text()
		case "line":
			var n string
			n, err = c.j.number()
			s.line = count(n)
		case "location":
			var at string
			at, err = c.j.text()
			s.file, s.line = splitLocation(at)
		case "status": // Behave: of a hook that failed, nothing else tells
			var status string
			if status, err = c.j.text(); stepRank(strings.ToLower(status)) >= stepRank("failed") {
				s.broken = true
			}
		case "steps", "before", "after":
			hook := key != "steps"
			err = c.j.elements(func() error { return c.readStep(&s, hook) })
		default:
			err = c.j.skip()
		}
		return err
	})
	switch {
	case s.kind == "background" || s.kind == "" && strings.EqualFold(s.keyword, "background"):
		c.back = s
	case err == nil || s.rank >= stepRank("failed"):
		c.take(s)
	}
	return err
}

// take joins the background with the scenario it was run for.
func (c *cucumber) take(s scenario) {
	s.duration = plus(s.duration, c.back.duration)
	s.steps += c.back.steps
	if c.back.rank > s.rank || s.message == "" && c.back.rank == s.rank {
		s.rank, s.message = c.back.rank, c.back.message
	}
	c.back = scenario{}
	if s.broken && s.rank < stepRank("undefined") {
		s.rank, s.message = stepRank("failed"), "no step failed; look for a hook that did in the output"
	}
	switch {
	case s.rank >= stepRank("undefined"):
		s.status = ci.TestFailed
	case s.steps == 0:
		s.status = ci.TestUnknown
	case s.rank >= stepRank("skipped"):
		s.status = ci.TestSkipped
	default:
		s.status = ci.TestSucceeded
	}
	s.message = clean(s.message, MaxMessage)
	if len(c.pending) == maxPending {
		c.flush()
	}
	c.pending = append(c.pending, s)
}

// stepRank orders the statuses of steps; the worst is the scenario's. A step that
// is not written yet counts as skipped, one that nothing matches as failed.
func stepRank(status string) int {
	switch status {
	case "passed":
		return 0
	case "skipped", "untested", "disabled", "unused":
		return 1
	case "pending":
		return 2
	case "undefined":
		return 3
	case "ambiguous":
		return 4
	case "failed", "error", "hook_error", "cleanup_error":
		return 5
	}
	return 1
}

func (c *cucumber) readStep(s *scenario, hook bool) error {
	var keyword, name, status, message string
	var took time.Duration
	err := c.j.members(func(key string) (err error) {
		switch key {
		case "keyword":
			keyword, err = c.j.text()
		case "name":
			name, err = c.j.text()
		case "result":
			status, message, took, err = c.readResult()
		case "before", "after": // hooks of the step
			if hook {
				return c.j.skip()
			}
			err = c.j.elements(func() error { return c.readStep(s, true) })
		default: // embeddings, output, match, tables
			err = c.j.skip()
		}
		return err
	})
	if err != nil && status == "" {
		return err
	}
	status = strings.ToLower(status)
	s.duration = plus(s.duration, took)
	if !hook {
		s.steps++
	}
	if r := stepRank(status); r > s.rank && !(hook && status == "skipped") {
		s.rank = r
		step := strings.TrimSpace(strings.TrimSpace(keyword) + " " + name)
		if hook && step == "" {
			step = "hook"
		}
		s.message = detail(step+": "+status, message)
		if message != "" {
			s.message = strings.TrimSpace(step + "\n" + message)
		}
	}
	return err
}

func (c *cucumber) readResult() (status, message string, took time.Duration, err error) {
	err = c.j.members(func(key string) (err error) {
		switch key {
		case "status":
			status, err = c.j.text()
		case "error_message":
			message, err = c.readMessage()
		case "duration":
			var n string
			n, err = c.j.number()
			took = stepTime(n)
		default:
			err = c.j.skip()
		}
		return err
	})
	return status, message, took, err
}

// readMessage takes a text, or the list of lines that Behave writes.
func (c *cucumber) readMessage() (string, error) {
	if c.j.kind() != '[' {
		return c.j.text()
	}
	var b strings.Builder
	err := c.j.elements(func() error {
		line, err := c.j.text()
		if b.Len() < maxText {
			b.WriteString(line + "\n")
		}
		return err
	})
	return b.String(), err
}

// stepTime: Cucumber writes whole nanoseconds, Behave seconds with a fraction.
func stepTime(s string) time.Duration {
	if strings.ContainsAny(s, ".eE") {
		return seconds(s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && n != math.MaxInt64 || n < 0 {
		return 0
	}
	return time.Duration(n)
}

func splitLocation(at string) (file string, line int) {
	i := strings.LastIndexByte(at, ':')
	if i < 0 {
		return at, 0
	}
	return at[:i], count(at[i+1:])
}
