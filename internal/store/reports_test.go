package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// reports stores a build of a project whose only job made the reports.
func reports(t *testing.T, db *store.DB, n int, commit, ref string, all ...ci.Report) ci.BuildID {
	t.Helper()
	queued := time.Unix(1_700_000_000+int64(n)*60, 0).UTC()
	b, _, err := db.Create(t.Context(), ci.Build{ID: ci.NewBuildID(queued), Project: "web", Status: ci.Queued, Queued: queued}, "")
	if err != nil {
		t.Fatal(err)
	}
	b.Commit, b.Status = ci.Commit{Hash: commit, Ref: ref}, ci.Running
	j := ci.JobRun{ID: b.ID.Job("build", 1), Name: "build", Status: ci.Queued, Queued: queued}
	began := j
	began.Status, began.Started = ci.Running, queued
	ended := began
	ended.Status, ended.Ended, ended.Reports = ci.Succeeded, queued.Add(time.Second), all
	done := b
	done.Status, done.Ended = ci.Succeeded, queued.Add(time.Minute)
	if err := db.Append(t.Context(), ci.NewEvent(ci.EventBuildStarted, b), ci.NewEvent(ci.EventJobQueued, j), ci.NewEvent(ci.EventJobStarted, began)); err != nil {
		t.Fatal(err)
	}
	if err := db.Append(t.Context(), ci.NewEvent(ci.EventJobFinished, ended), ci.NewEvent(ci.EventBuildFinished, done)); err != nil {
		t.Fatal(err)
	}
	return b.ID
}

// unit is a report of so many tests, the first of which has that status.
func unit(tests int, first string) ci.Report {
	r := ci.Report{Group: "unit", Type: "TEST", Format: "JUNITXML", Status: "SUCCEEDED", Summary: ci.TestSummary{Total: tests, Succeeded: tests}}
	for i := range tests {
		c := ci.TestCase{Prefix: "pkg", Name: fmt.Sprintf("Test%03d", i), Status: ci.TestSucceeded, Duration: time.Duration(i) * time.Millisecond}
		if i == 0 {
			c.Status = first
		}
		r.Cases = append(r.Cases, c)
	}
	return r
}

func TestReportHistory(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		if _, err := db.PutProject(ctx, ci.Project{Name: "web"}); err != nil {
			t.Fatal(err)
		}
		const main = "refs/heads/main"
		cover := ci.Report{Group: "cov", Type: "CODE_COVERAGE", Status: "SUCCEEDED", Coverage: ci.Coverage{LinesCovered: 80, LinesMissed: 20}}
		first := reports(t, db, 1, "aaaa", main, unit(120, ci.TestSucceeded), cover)
		reports(t, db, 2, "aaaa", main, unit(120, ci.TestFailed))
		reports(t, db, 3, "bbbb", "refs/heads/x", unit(120, ci.TestSucceeded), ci.Report{Group: "it's", Type: "TEST", Cases: []ci.TestCase{{Name: "t"}, {Name: "t", Status: ci.TestFailed}, {Name: strings.Repeat("ü", 900), Status: ci.TestSkipped}}})
		reports(t, db, 4, "cccc", main, unit(120, ci.TestFailed), cover)

		runs, next, err := db.ReportRuns(ctx, store.ReportFilter{Project: "web", Limit: 2})
		if err != nil || len(runs) != 2 || runs[0].Number != 4 || next == 0 {
			t.Fatalf("got %+v, %d, %v", runs, next, err)
		}
		if rest, next, err := db.ReportRuns(ctx, store.ReportFilter{Project: "web", After: next}); err != nil || len(rest) != 5 || next != 0 {
			t.Errorf("got %d more, %d, %v; want 5", len(rest), next, err)
		}
		trend, _, err := db.ReportRuns(ctx, store.ReportFilter{Project: "web", Ref: "main", Type: "CODE_COVERAGE"})
		if err != nil || len(trend) != 2 || trend[0].Coverage != cover.Coverage || trend[1].Number != 1 || trend[0].Commit != "cccc" || trend[0].Ref != main || trend[0].Job != "build" {
			t.Errorf("got %+v, %v", trend, err)
		}
		ask := func(f store.TestFilter) []ci.TestRecord {
			t.Helper()
			f.Project = "web"
			page, _, err := db.Tests(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			return page
		}
		one := ask(store.TestFilter{Group: "unit", Name: "pkg.Test000"})
		if len(one) != 1 || one[0].Runs != 4 || one[0].Failed != 2 || one[0].Flaky != 1 || one[0].Since != 4 || len(one[0].Recent) != 4 || one[0].Recent[1].Ref != "refs/heads/x" || one[0].Status != ci.TestFailed {
			t.Errorf("got %+v", one)
		}
		if slow := ask(store.TestFilter{Order: store.TestsSlowest, Limit: 2}); len(slow) != 2 || slow[0].Name != "pkg.Test119" || slow[0].Mean != 119*time.Millisecond {
			t.Errorf("slowest: got %+v", slow)
		}
		if flaky := ask(store.TestFilter{Order: store.TestsFlaky}); len(flaky) != 1 || flaky[0].Name != "pkg.Test000" {
			t.Errorf("flaky: got %+v", flaky)
		}
		if failing := ask(store.TestFilter{Order: store.TestsFailing}); len(failing) != 2 || failing[0].Name != "pkg.Test000" || failing[1].Name != "t" || failing[1].Group != "it's" {
			t.Errorf("failing: got %+v", failing)
		}
		page, more, err := db.Tests(ctx, store.TestFilter{Project: "web", Limit: 100, Offset: 100})
		if err != nil || more || len(page) != 22 {
			t.Errorf("second page: got %d, %v, %v; want 22", len(page), more, err)
		}
		// It outlives its builds, and goes with the project.
		if err := db.DeleteBuild(ctx, first); err != nil {
			t.Fatal(err)
		}
		if runs, _, err := db.ReportRuns(ctx, store.ReportFilter{Project: "web"}); err != nil || len(runs) != 7 {
			t.Errorf("after the build went: got %d, %v; want 7", len(runs), err)
		}
		if n, err := db.TrimTests(ctx, time.Unix(1_700_000_000+3*60+30, 0)); err != nil || n != 2 {
			t.Errorf("forgot %d, %v; want the 2 that ran in build 3 alone", n, err)
		}
		if err := db.DeleteProject(ctx, "web", false); err != nil {
			t.Fatal(err)
		}
		if left := ask(store.TestFilter{}); len(left) != 0 {
			t.Errorf("after the project went: %d tests", len(left))
		}
	})
}
