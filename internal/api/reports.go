package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

func (a *API) reports() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "listReportTrend", Method: http.MethodGet, Path: "/projects/{project}/reports", Summary: "List the reports of a project in numbers, the newest first",
		Description: "Tests and coverage of each build that reported some, also of builds that are gone."},
		func(ctx context.Context, in *struct {
			InProject
			Paging
			Group string `query:"group" maxLength:"500" doc:"of this report group"`
			Ref   string `query:"ref" maxLength:"2048" doc:"of this branch or tag: refs/heads/main, or main"`
			Type  string `query:"type" enum:"TEST,CODE_COVERAGE"`
		}) (*listed[ci.ReportRun], error) {
			items, next, err := desk.ReportRuns(ctx, in.Project, app.ReportFilter{Group: in.Group, Ref: in.Ref, Type: in.Type, Page: in.page()})
			return list(items, next), err
		})
	register(a, huma.Operation{OperationID: "listTests", Method: http.MethodGet, Path: "/projects/{project}/tests", Summary: "List the tests of a project with their last runs",
		Description: "`slowest` has those first that take longest, `flaky` has those alone that passed and failed on the same commit, `failing` those alone that fail now, the newest failures first."},
		func(ctx context.Context, in *struct {
			InProject
			Paging
			Group string `query:"group" maxLength:"500" doc:"of this report group"`
			Name  string `query:"name" maxLength:"500" doc:"the test of this name: its whole name, with its class or package before it"`
			Order string `query:"order" enum:"name,slowest,flaky,failing" default:"name"`
		}) (*listed[ci.TestRecord], error) {
			items, next, err := desk.Tests(ctx, in.Project, app.TestFilter{Group: in.Group, Name: in.Name, Order: in.Order, Page: in.page()})
			return list(items, next), err
		})
}
