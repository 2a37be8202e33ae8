package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// UsageFilters choose metered jobs.
type UsageFilters struct {
	Paging
	By      []string `query:"by" uniqueItems:"true" enum:"day,month,project,branch,user,executor,type,size" doc:"what to group by, and sort by in this order; left out for one sum for each currency"`
	Project string   `query:"project" maxLength:"200" doc:"of this project only"`
	Branch  string   `query:"branch" maxLength:"2048" doc:"refs/heads/main, or main"`
	User    string   `query:"user" maxLength:"255" doc:"of builds that this user started"`
	Since   string   `query:"since" format:"date" doc:"of jobs that ended on this day, in UTC, or later"`
	Until   string   `query:"until" format:"date" doc:"of jobs that ended before this day"`
}

// filter reads the days.
func (f UsageFilters) filter() (app.UsageFilter, error) {
	out := app.UsageFilter{By: f.By, Project: f.Project, Branch: f.Branch, User: f.User, Page: f.page()}
	var err error
	if f.Since != "" {
		out.Since, err = time.Parse(time.DateOnly, f.Since)
	}
	if f.Until != "" && err == nil {
		out.Until, err = time.Parse(time.DateOnly, f.Until)
	}
	if err != nil {
		return out, newProblem(http.StatusUnprocessableEntity, "since and until: want a day, such as 2026-11-22")
	}
	return out, nil
}

// Rebuilt says how many jobs were not metered before.
type Rebuilt struct {
	Added int `json:"added"`
}

func (a *API) usage() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "getUsage", Method: http.MethodGet, Path: "/usage", Summary: "Add up what jobs of the projects that one may see were metered with",
		Description: "Each job counts from when its sandbox was asked for to its end, rounded up to the minute (by the second where its price is). " +
			"Time in the queue does not count. Usage stays when builds and projects are deleted."},
		func(ctx context.Context, in *UsageFilters) (*listed[ci.UsageRow], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			items, next, err := desk.Usage(ctx, f)
			return list(items, next), err
		})
	register(a, huma.Operation{OperationID: "rebuildUsage", Method: http.MethodPost, Path: "/usage/rebuild", Summary: "Meter the jobs of stored builds that are not metered; for administrators", DefaultStatus: http.StatusOK,
		Description: "What is metered stays as it is. Nothing is missing unless a database was repaired by hand."},
		func(ctx context.Context, _ *struct{}) (*struct{ Body Rebuilt }, error) {
			added, err := desk.RebuildUsage(ctx)
			return &struct{ Body Rebuilt }{Rebuilt{added}}, err
		})
}
