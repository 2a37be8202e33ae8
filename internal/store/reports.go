package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// What is kept of reports: a row of numbers for each report, and a row for each
// test with its last ci.RecentRuns runs. So the tables grow with the number of
// builds by little, and with the number of tests; neither with the product.
const (
	maxTests    = 20_000 // of a project; those that come later are not recorded
	maxTestName = 500    // bytes, so that an index takes it
	testsAtOnce = 50
)

// report writes down what came of the tests of jobs that end with these events,
// in the transaction of their end.
func (t *tx) report(events []ci.Event) error {
	for _, e := range events {
		if e.Type != ci.EventJobFinished {
			continue
		}
		j, err := ci.JobOf(e)
		if err != nil {
			return err
		}
		if len(j.Reports) == 0 {
			continue
		}
		var of reported
		found, err := t.row([]any{&of.project, &of.number, &of.ref, &of.commit}, "SELECT project, number, ref, commit_id FROM builds WHERE id = $1", string(e.Build))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("reports of job %s: its build: %w", j.ID, ci.ErrNotFound)
		}
		of.time = j.Ended
		if of.time.IsZero() {
			of.time = e.Time
		}
		of.job = strings.TrimPrefix(string(j.ID), string(e.Build)+"/")
		for _, r := range j.Reports {
			if err := errors.Join(t.reportRun(of, r), t.reportTests(of, r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// reported says whose report it is.
type reported struct {
	project, ref, commit, job string
	number                    int64
	time                      time.Time
}

const runColumns = "number, job, ref, commit_id, time, grp, type, status, total, succeeded, failed, error, skipped, unknown, duration, lines_covered, lines_missed, branches_covered, branches_missed"

func (t *tx) reportRun(of reported, r ci.Report) error {
	s, c := r.Summary, r.Coverage
	args := []any{
		of.project, of.number, plain(of.job), of.ref, of.commit, nanos(of.time), clip(r.Group), plain(r.Type), plain(r.Status),
		s.Total, s.Succeeded, s.Failed, s.Error, s.Skipped, s.Unknown, int64(s.Duration), c.LinesCovered, c.LinesMissed, c.BranchesCovered, c.BranchesMissed,
	}
	_, err := t.exec("INSERT INTO report_runs (project, "+runColumns+") VALUES "+tuples(1, len(args)), args...)
	return err
}

// clip makes a name that an index takes.
func clip(s string) string {
	s = plain(s)
	if len(s) > maxTestName {
		s = strings.ToValidUTF8(s[:maxTestName], "")
	}
	return s
}

// reportTests takes the cases of a report into what is known of each test.
func (t *tx) reportTests(of reported, r ci.Report) error {
	results := map[string]ci.TestResult{}
	for _, c := range r.Cases {
		name := c.Name
		if c.Prefix != "" {
			name = c.Prefix + "." + name
		}
		name = clip(name)
		one := ci.TestResult{Number: of.number, Status: c.Status, Duration: c.Duration, Commit: of.commit[:min(len(of.commit), 12)], Ref: of.ref, Time: of.time}
		if before, twice := results[name]; twice { // the same test in two suites: what went wrong counts
			one.Duration += before.Duration
			if before.Status == ci.TestFailed || before.Status == ci.TestError {
				one.Status = before.Status
			}
		}
		results[name] = one
	}
	names := slices.Sorted(maps.Keys(results))
	group := clip(r.Group)
	for some := range slices.Chunk(names, testsAtOnce) {
		if err := t.updateTests(of.project, group, some, results); err != nil {
			return err
		}
	}
	return nil
}

const testColumns = "name, status, mean, runs, failed, flaky, flaky_at, since, seen, recent"

func testFields(r *ci.TestRecord, flaky, seen *int64, recent *string) []any {
	return []any{&r.Name, &r.Status, (*int64)(&r.Mean), &r.Runs, &r.Failed, &r.Flaky, flaky, &r.Since, seen, recent}
}

func readTest(rows *sql.Rows, more ...any) (r ci.TestRecord, err error) {
	var flaky, seen int64
	var recent string
	err = rows.Scan(append(testFields(&r, &flaky, &seen, &recent), more...)...)
	r.FlakyAt, r.Seen, r.Recent = moment(flaky), moment(seen), ci.UnpackResults(recent)
	return r, err
}

// updateTests adds a run to each of some tests.
func (t *tx) updateTests(project, group string, names []string, results map[string]ci.TestResult) error {
	args := []any{project, group}
	var in []string
	for i := range testsAtOnce { // always as many, so that there is one statement
		args = append(args, names[min(i, len(names)-1)])
		in = append(in, "$"+strconv.Itoa(len(args)))
	}
	known := map[string]ci.TestRecord{}
	err := t.rows(func(rows *sql.Rows) error {
		r, err := readTest(rows)
		known[r.Name] = r
		return err
	}, "SELECT "+testColumns+" FROM tests WHERE project = $1 AND grp = $2 AND name IN ("+strings.Join(in, ", ")+")", args...)
	if err != nil {
		return err
	}
	room := len(names)
	if len(known) < len(names) { // there are new ones
		var n int
		if _, err := t.row([]any{&n}, "SELECT COUNT(*) FROM tests WHERE project = $1", project); err != nil {
			return err
		}
		room = maxTests - n
	}
	var values []any
	n := 0
	for _, name := range names {
		r, ok := known[name]
		if !ok {
			if room--; room < 0 {
				continue
			}
			r.Name = name
		}
		r.Add(results[name])
		values = append(values, project, group, name, r.Status, int64(r.Mean), r.Runs, r.Failed, r.Flaky, nanos(r.FlakyAt), r.Since, nanos(r.Seen), ci.PackResults(r.Recent))
		n++
	}
	if n == 0 {
		return nil
	}
	_, err = t.exec("INSERT INTO tests (project, grp, "+testColumns+") VALUES "+tuples(n, 12)+`
		ON CONFLICT (project, grp, name) DO UPDATE SET status = excluded.status, mean = excluded.mean, runs = excluded.runs, failed = excluded.failed,
		flaky = excluded.flaky, flaky_at = excluded.flaky_at, since = excluded.since, seen = excluded.seen, recent = excluded.recent`, values...)
	return err
}

// dropReports forgets the reports of a project.
func (t *tx) dropReports(project string) error {
	for _, text := range []string{"DELETE FROM tests WHERE project = $1", "DELETE FROM report_runs WHERE project = $1"} {
		if _, err := t.exec(text, project); err != nil {
			return err
		}
	}
	return nil
}

// TrimTests forgets tests that ran last before a time: they were renamed or removed.
func (db *DB) TrimTests(ctx context.Context, before time.Time) (n int64, err error) {
	err = db.write(ctx, func(t *tx) (err error) {
		n, err = t.exec("DELETE FROM tests WHERE seen < $1", nanos(before))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget tests that no longer run: %w", err)
	}
	return n, nil
}

// ReportFilter chooses reports of a project. Zero values choose all.
type ReportFilter struct {
	Project string
	Group   string
	Ref     string // refs/heads/main, or main
	Type    string // TEST or CODE_COVERAGE
	Limit   int
	After   int64 // those before this ID
}

// ReportRuns lists reports of a project in numbers, the newest first. next is 0
// at the end, else the After of the page that follows.
func (db *DB) ReportRuns(ctx context.Context, f ReportFilter) (page []ci.ReportRun, next int64, err error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return nil, 0, fmt.Errorf("list reports: %w", err)
	}
	q := &listQuery{}
	q.and("project = ", plain(f.Project))
	if f.Group != "" {
		q.and("grp = ", clip(f.Group))
	}
	if f.Type != "" {
		q.and("type = ", plain(f.Type))
	}
	if f.After != 0 {
		q.and("id < ", f.After)
	}
	if ref := plain(f.Ref); ref != "" {
		refs := []string{q.param(ref)}
		if !strings.HasPrefix(ref, "refs/") {
			refs = append(refs, q.param("refs/heads/"+ref), q.param("refs/tags/"+ref))
		}
		q.where = append(q.where, "ref IN ("+strings.Join(refs, ", ")+")")
	}
	text := "SELECT id, " + runColumns + " FROM report_runs WHERE " + strings.Join(q.where, " AND ") + " ORDER BY id DESC LIMIT " + q.param(limit+1)
	err = db.query(ctx, func(rows *sql.Rows) error {
		var r ci.ReportRun
		var at int64
		s, c := &r.Tests, &r.Coverage
		err := rows.Scan(&r.ID, &r.Number, &r.Job, &r.Ref, &r.Commit, &at, &r.Group, &r.Type, &r.Status, &s.Total, &s.Succeeded, &s.Failed, &s.Error, &s.Skipped, &s.Unknown,
			(*int64)(&s.Duration), &c.LinesCovered, &c.LinesMissed, &c.BranchesCovered, &c.BranchesMissed)
		r.Time = moment(at)
		page = append(page, r)
		return err
	}, text, q.args...)
	if err != nil {
		return nil, 0, fmt.Errorf("list reports: %w", err)
	}
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].ID
	}
	return page, next, nil
}

// TestOrder says which tests are wanted, and which of them first.
type TestOrder string

// The orders.
const (
	TestsByName  TestOrder = "name"
	TestsSlowest TestOrder = "slowest"
	TestsFlaky   TestOrder = "flaky"   // those that are, seen last first
	TestsFailing TestOrder = "failing" // those that do, the newest failures first
)

// TestFilter chooses tests of a project. Zero values choose all, by name.
type TestFilter struct {
	Project string
	Group   string
	Name    string // the whole name
	Order   TestOrder
	Limit   int
	Offset  int
}

// Tests lists what is known of tests.
func (db *DB) Tests(ctx context.Context, f TestFilter) (page []ci.TestRecord, more bool, err error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return nil, false, fmt.Errorf("list tests: %w", err)
	}
	q := &listQuery{}
	q.and("project = ", plain(f.Project))
	if f.Group != "" {
		q.and("grp = ", clip(f.Group))
	}
	if f.Name != "" {
		q.and("name = ", clip(f.Name))
	}
	order := "grp, name"
	switch f.Order {
	case TestsSlowest:
		order = "mean DESC, grp, name"
	case TestsFlaky:
		q.and("flaky > ", 0)
		order = "flaky_at DESC, grp, name"
	case TestsFailing:
		q.and("since > ", 0)
		order = "since DESC, grp, name"
	}
	text := "SELECT " + testColumns + ", grp FROM tests WHERE " + strings.Join(q.where, " AND ") + " ORDER BY " + order + " LIMIT " + q.param(limit+1) + " OFFSET " + q.param(f.Offset)
	err = db.query(ctx, func(rows *sql.Rows) error {
		var group string
		r, err := readTest(rows, &group)
		r.Group = group
		page = append(page, r)
		return err
	}, text, q.args...)
	if err != nil {
		return nil, false, fmt.Errorf("list tests: %w", err)
	}
	if more = len(page) > limit; more {
		page = page[:limit]
	}
	return page, more, nil
}
