package api_test

import (
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// TestReportTrend has three builds with one test and coverage that changes.
func TestReportTrend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	for n := int64(1); n <= 3; n++ {
		w.start("web", client.StartBuild{})
		w.done("web", n)
	}
	if err := w.admin.DeleteBuild(t.Context(), "web", 1); err != nil {
		t.Fatal(err)
	}
	page, err := w.admin.ReportRuns(t.Context(), "web", client.ReportFilter{Type: "TEST", Paging: client.Paging{Limit: 2}})
	if err != nil || len(page.Items) != 2 || page.Items[0].Number != 3 || page.Items[0].Tests.Succeeded != 1 || page.Items[0].Group != "unit" {
		t.Fatalf("got %+v, %v", page, err)
	}
	rest, err := w.admin.ReportRuns(t.Context(), "web", client.ReportFilter{Paging: client.Paging{After: page.Next}})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].Number != 1 || rest.Next != "" {
		t.Errorf("got %+v, %v; want the one of the build that is gone", rest, err)
	}
	tests, err := w.admin.Tests(t.Context(), "web", client.TestFilter{Name: "c.t", Order: "slowest"})
	if err != nil || len(tests.Items) != 1 || tests.Items[0].Runs != 3 || len(tests.Items[0].Recent) != 3 || tests.Items[0].Mean.Milliseconds() != 100 {
		t.Errorf("got %+v, %v", tests, err)
	}
	if none, err := w.admin.Tests(t.Context(), "web", client.TestFilter{Order: "flaky"}); err != nil || len(none.Items) != 0 {
		t.Errorf("got %+v, %v; want none", none, err)
	}
	_, err = w.admin.Tests(t.Context(), "web", client.TestFilter{Order: "best"})
	wantError(t, err, 422, "invalid", "order")
	_, err = w.admin.ReportRuns(t.Context(), "web", client.ReportFilter{Paging: client.Paging{After: "x"}})
	wantError(t, err, 422, "invalid", "begin without it")
}
