package client

import (
	"context"
	"time"
)

// ReportRun is one report of one build, in numbers. It outlives its build.
type ReportRun struct {
	ID       int64       `json:"id"`
	Number   int64       `json:"number"` // of the build, which may be gone
	Job      string      `json:"job"`
	Ref      string      `json:"ref,omitempty"`
	Commit   string      `json:"commit,omitempty"`
	Time     time.Time   `json:"time"`
	Group    string      `json:"group"`
	Type     string      `json:"type"` // TEST or CODE_COVERAGE
	Status   string      `json:"status"`
	Tests    TestSummary `json:"tests,omitzero"`
	Coverage Coverage    `json:"coverage,omitzero"`
}

// TestRecord is what is known of one test of a project over its last runs.
type TestRecord struct {
	Group   string        `json:"group"`
	Name    string        `json:"name"`    // with its class or package before it
	Status  string        `json:"status"`  // of the newest run
	Mean    time.Duration `json:"mean"`    // over the recent runs
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
	Time     time.Time     `json:"time"`
}

// ReportFilter chooses reports of a project; zero values choose all.
type ReportFilter struct {
	Group string
	Ref   string // refs/heads/main, or main
	Type  string // TEST or CODE_COVERAGE
	Paging
}

// ReportRuns lists reports of a project in numbers, the newest first.
func (c *Client) ReportRuns(ctx context.Context, project string, f ReportFilter) (Page[ReportRun], error) {
	q := f.query()
	for name, value := range map[string]string{"group": f.Group, "ref": f.Ref, "type": f.Type} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[Page[ReportRun]](ctx, c, at("projects", project, "reports"), q)
}

// TestFilter chooses tests of a project; zero values choose all, by name.
type TestFilter struct {
	Group string
	Name  string // the whole name
	Order string // name, slowest, flaky or failing; the last two choose those that are
	Paging
}

// Tests lists the tests of a project with their last runs.
func (c *Client) Tests(ctx context.Context, project string, f TestFilter) (Page[TestRecord], error) {
	q := f.query()
	for name, value := range map[string]string{"group": f.Group, "name": f.Name, "order": f.Order} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[Page[TestRecord]](ctx, c, at("projects", project, "tests"), q)
}
