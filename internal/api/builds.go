package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// InBuild is a request that names a build.
type InBuild struct {
	InProject
	Number int64 `path:"number" minimum:"1" doc:"number of the build in its project"`
}

type buildAnswer struct {
	Status   int
	Location string `header:"Location"`
	Body     app.BuildInfo
}

func showBuild(status int, b app.BuildInfo) *buildAnswer {
	if b.Jobs == nil {
		b.Jobs = []ci.JobRun{}
	}
	return &buildAnswer{Status: status, Body: b}
}

// started is the answer to a build that was asked for: 201 for a new one, 200
// for one that was there.
func started(b app.BuildInfo, made bool, err error) (*buildAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := showBuild(http.StatusOK, b)
	out.Location = fmt.Sprintf("%s/projects/%s/builds/%d", Prefix, b.Project, b.Number)
	if made {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// StartBuild is the body of a request for a build.
type StartBuild struct {
	Source    *ci.Source    `json:"source,omitempty" doc:"instead of the project's: an upload, or, for those who may change the project, any"`
	Ref       string        `json:"ref,omitempty" doc:"branch, tag or commit"`
	File      string        `json:"file,omitempty" doc:"the definition's path in the source"`
	Inline    string        `json:"inline,omitempty" doc:"the definition itself"`
	Batch     *bool         `json:"batch,omitempty"`
	Variables []ci.Variable `json:"variables,omitempty" doc:"over those of the project, by name"`
	Runtime   ci.Runtime    `json:"runtime,omitzero" doc:"over that of the project, field by field"`
	Limits    ci.Limits     `json:"limits,omitzero" doc:"the same"`

	Parameters map[string]string `json:"parameters,omitempty" doc:"those that the project declares, by name"`
	Artifacts  string            `json:"artifacts,omitempty" doc:"how they are kept: zip or folder"`
}

// Retry is the body of a request to build again.
type Retry struct {
	Failed bool   `json:"failed,omitempty" doc:"only the jobs that did not succeed; the others are taken over"`
	From   string `json:"from,omitempty" maxLength:"200" doc:"only this job and those that need it, and what did not succeed"`
}

// Keyed is a request that may be made twice.
type Keyed struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"the same key gives the build that it first started"`
}

// Filters choose builds.
type Filters struct {
	Paging
	Status    []string  `query:"status" enum:"queued,running,waiting,succeeded,unstable,failed,errored,timed_out,canceled,skipped" doc:"any of these"`
	Ref       string    `query:"ref" maxLength:"2048" doc:"refs/heads/main, or main"`
	Commit    string    `query:"commit" maxLength:"64" doc:"a hash, or its beginning"`
	Initiator string    `query:"initiator" maxLength:"255"`
	Since     time.Time `query:"since" doc:"queued then or later"`
	Until     time.Time `query:"until" doc:"queued before"`
}

func (f Filters) filter(project string) app.Filter {
	out := app.Filter{Project: project, Ref: f.Ref, Commit: f.Commit, Initiator: f.Initiator, Since: f.Since, Until: f.Until, Page: f.page()}
	for _, s := range f.Status {
		out.Status = append(out.Status, ci.Status(s))
	}
	return out
}

func (a *API) builds() {
	desk := a.cfg.App
	const builds = "/projects/{project}/builds"
	const build = builds + "/{number}"
	listBuilds := func(ctx context.Context, f app.Filter) (*listed[ci.Build], error) {
		items, next, err := desk.Builds(ctx, f)
		for i := range items {
			items[i].Jobs = []ci.JobRun{}
		}
		return list(items, next), err
	}
	register(a, huma.Operation{OperationID: "listAllBuilds", Method: http.MethodGet, Path: "/builds", Summary: "List builds of all projects, the newest first"},
		func(ctx context.Context, in *struct {
			Filters
			Project string `query:"project" maxLength:"200" doc:"of this project only"`
		}) (*listed[ci.Build], error) {
			return listBuilds(ctx, in.filter(in.Project))
		})
	register(a, huma.Operation{OperationID: "listBuilds", Method: http.MethodGet, Path: builds, Summary: "List the builds of a project, the newest first"},
		func(ctx context.Context, in *struct {
			InProject
			Filters
		}) (*listed[ci.Build], error) {
			return listBuilds(ctx, in.filter(in.Project))
		})
	register(a, huma.Operation{OperationID: "startBuild", Method: http.MethodPost, Path: builds, Summary: "Start a build", DefaultStatus: http.StatusCreated,
		Description: "What the body leaves out is as the project has it. 200 instead of 201 says that the Idempotency-Key was used before."},
		func(ctx context.Context, in *struct {
			InProject
			Keyed
			Body *StartBuild
		}) (*buildAnswer, error) {
			var s StartBuild
			if in.Body != nil {
				s = *in.Body
			}
			return started(desk.StartBuild(ctx, in.Project, app.Start{
				Key: strings.ToValidUTF8(in.Key, "?"), Source: s.Source, Ref: s.Ref, File: s.File, Inline: s.Inline, Batch: s.Batch,
				Variables: s.Variables, Runtime: s.Runtime, Limits: s.Limits, Parameters: s.Parameters, Artifacts: s.Artifacts,
			}))
		})
	register(a, huma.Operation{OperationID: "getBuild", Method: http.MethodGet, Path: build, Summary: "Show a build with its jobs, steps and plan"},
		func(ctx context.Context, in *InBuild) (*buildAnswer, error) {
			b, err := desk.Build(ctx, in.Project, in.Number)
			return showBuild(http.StatusOK, b), err
		})
	register(a, huma.Operation{OperationID: "stopBuild", Method: http.MethodPost, Path: build + "/stop", Summary: "Ask a build to stop", DefaultStatus: http.StatusOK},
		func(ctx context.Context, in *InBuild) (*buildAnswer, error) {
			b, err := desk.StopBuild(ctx, in.Project, in.Number)
			return showBuild(http.StatusOK, b), err
		})
	register(a, huma.Operation{OperationID: "retryBuild", Method: http.MethodPost, Path: build + "/retry", Summary: "Build the same commit with the same parameters again", DefaultStatus: http.StatusCreated},
		func(ctx context.Context, in *struct {
			InBuild
			Keyed
			Body *Retry
		}) (*buildAnswer, error) {
			var r Retry
			if in.Body != nil {
				r = *in.Body
			}
			return started(desk.RetryBuild(ctx, in.Project, in.Number, strings.ToValidUTF8(in.Key, "?"), app.Retry{Failed: r.Failed, From: r.From}))
		})
	register(a, huma.Operation{OperationID: "deleteBuild", Method: http.MethodDelete, Path: build, Summary: "Delete a build that is done", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *InBuild) (*struct{}, error) {
			return nil, desk.DeleteBuild(ctx, in.Project, in.Number)
		})
}
