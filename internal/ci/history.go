package ci

import (
	"strconv"
	"strings"
	"time"
)

// ReportRun is one report of one build, in numbers. It outlives its build.
type ReportRun struct {
	ID       int64       `json:"id"`
	Number   int64       `json:"number"` // of the build, which may be gone
	Job      string      `json:"job"`
	Ref      string      `json:"ref,omitempty"`
	Commit   string      `json:"commit,omitempty"`
	Time     time.Time   `json:"time"` // of the job's end
	Group    string      `json:"group"`
	Type     string      `json:"type"`   // TEST or CODE_COVERAGE
	Status   string      `json:"status"` // SUCCEEDED, FAILED, INCOMPLETE
	Tests    TestSummary `json:"tests,omitzero"`
	Coverage Coverage    `json:"coverage,omitzero"`
}

// TestRecord is what is known of one test of a project over its last runs.
type TestRecord struct {
	Group   string        `json:"group"`
	Name    string        `json:"name"`    // with its class or package before it
	Status  string        `json:"status"`  // of the newest run
	Mean    time.Duration `json:"mean"`    // nanoseconds, over the recent runs
	Runs    int64         `json:"runs"`    // of all time
	Failed  int64         `json:"failed"`  // of those
	Flaky   int64         `json:"flaky"`   // how often it passed and failed on the same commit
	FlakyAt time.Time     `json:"flakyAt"` // when that was seen last; zero = never
	Since   int64         `json:"since"`   // number of the build in which it began to fail; 0 = it does not
	Seen    time.Time     `json:"seen"`    // when it ran last
	Recent  []TestResult  `json:"recent"`  // its last runs, the newest first
}

// TestResult is one run of one test.
type TestResult struct {
	Number   int64         `json:"number"` // of the build
	Status   string        `json:"status"`
	Duration time.Duration `json:"durationNanos"`
	Commit   string        `json:"commit,omitempty"` // its first 12 characters
	Ref      string        `json:"ref,omitempty"`
	Time     time.Time     `json:"time"` // to the second
}

// RecentRuns is how many runs of a test are kept.
const RecentRuns = 30

// Add takes in a newer run, and drops the oldest when there are too many. A test
// fails since the first of its failures in a row on the branch; it is flaky when
// it passed and failed on one commit.
func (t *TestRecord) Add(r TestResult) {
	t.Runs++
	if failing(r.Status) {
		t.Failed++
	}
	if ran(r.Status) {
		var before *TestResult // the last that ran on the branch
		flips := false
		for i := range t.Recent {
			o := &t.Recent[i]
			if !ran(o.Status) {
				continue
			}
			if before == nil && o.Ref == r.Ref {
				before = o
			}
			if r.Commit != "" && o.Commit == r.Commit {
				flips = failing(o.Status) != failing(r.Status)
				break // what was before that is counted already
			}
		}
		if flips {
			t.Flaky++
			t.FlakyAt = r.Time
		}
		switch {
		case !failing(r.Status):
			t.Since = 0
		case t.Since == 0 || before != nil && !failing(before.Status):
			t.Since = r.Number
		}
	}
	t.Status, t.Seen = r.Status, r.Time
	t.Recent = append([]TestResult{r}, t.Recent[:min(len(t.Recent), RecentRuns-1)]...)
	var sum time.Duration
	n := time.Duration(0)
	for _, r := range t.Recent {
		if ran(r.Status) {
			sum += r.Duration
			n++
		}
	}
	if t.Mean = 0; n > 0 {
		t.Mean = sum / n
	}
}

func failing(status string) bool { return status == TestFailed || status == TestError }
func ran(status string) bool     { return failing(status) || status == TestSucceeded }

// PackResults writes runs in few bytes: a line for each.
func PackResults(all []TestResult) string {
	var b strings.Builder
	for _, r := range all {
		for _, n := range []int64{r.Number, r.Time.Unix(), int64(r.Duration / time.Microsecond)} {
			b.WriteString(strconv.FormatInt(n, 36) + " ")
		}
		b.WriteString(r.Status[:min(len(r.Status), 2)] + " " + r.Commit + " " + strings.ReplaceAll(r.Ref, "\n", " ") + "\n")
	}
	return b.String()
}

// UnpackResults reads what PackResults wrote. Lines that are none are left out.
func UnpackResults(text string) (all []TestResult) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(f) != 6 {
			continue
		}
		var n [3]int64
		bad := false
		for i := range n {
			var err error
			n[i], err = strconv.ParseInt(f[i], 36, 64)
			bad = bad || err != nil
		}
		if bad {
			continue
		}
		r := TestResult{Number: n[0], Time: time.Unix(n[1], 0).UTC(), Duration: time.Duration(n[2]) * time.Microsecond, Commit: f[4], Ref: f[5], Status: TestUnknown}
		for _, s := range []string{TestSucceeded, TestFailed, TestError, TestSkipped} {
			if f[3] == s[:2] {
				r.Status = s
			}
		}
		all = append(all, r)
	}
	return all
}
