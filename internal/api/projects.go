package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// List is a page of a list.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"the after of the next page; not there at the end"`
}

type listed[T any] struct{ Body List[T] }

func list[T any](items []T, next string) *listed[T] {
	if items == nil {
		items = []T{}
	}
	return &listed[T]{List[T]{items, next}}
}

// Paging is a request for a page of a list.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"items in a page"`
	After string `query:"after" maxLength:"1000" doc:"what the page before gave as next"`
}

func (p Paging) page() app.Page { return app.Page{Limit: p.Limit, After: p.After} }

// InProject is a request that names a project. Parts of requests are exported
// because huma passes over those that are not.
type InProject struct {
	Project string `path:"project" maxLength:"200" doc:"name of the project"`
}

type projectAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     ci.Project
}

func showProject(status int, p ci.Project) *projectAnswer {
	return &projectAnswer{Status: status, ETag: etag(p.Revision), Body: p}
}

func etag(revision int64) string { return strconv.Quote(strconv.FormatInt(revision, 10)) }

// OnlyIf is the condition of a change.
type OnlyIf struct {
	IfMatch string `header:"If-Match" maxLength:"100" doc:"ETag that it must still have"`
}

// revision of an If-Match; 0 without one.
func (o OnlyIf) revision() (int64, error) {
	if o.IfMatch == "" || o.IfMatch == "*" {
		return 0, nil
	}
	text, err := strconv.Unquote(strings.TrimSpace(o.IfMatch))
	n, err2 := strconv.ParseInt(text, 10, 64)
	if err != nil || err2 != nil || n <= 0 {
		return 0, newProblem(http.StatusPreconditionFailed, "If-Match is not an ETag that this server gave")
	}
	return n, nil
}

func (a *API) projects() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "listProjects", Method: http.MethodGet, Path: "/projects", Summary: "List projects"},
		func(ctx context.Context, in *struct {
			Paging
			Prefix string `query:"prefix" maxLength:"200" doc:"only names that begin so"`
		}) (*listed[ci.Project], error) {
			items, next, err := desk.Projects(ctx, in.Prefix, in.page())
			return list(items, next), err
		})
	register(a, huma.Operation{OperationID: "createProject", Method: http.MethodPost, Path: "/projects", Summary: "Create a project", DefaultStatus: http.StatusCreated},
		func(ctx context.Context, in *struct{ Body ci.Project }) (*projectAnswer, error) {
			p, err := desk.CreateProject(ctx, in.Body)
			out := showProject(http.StatusCreated, p)
			out.Location = Prefix + "/projects/" + p.Name
			return out, err
		})
	register(a, huma.Operation{OperationID: "getProject", Method: http.MethodGet, Path: "/projects/{project}", Summary: "Show a project"},
		func(ctx context.Context, in *InProject) (*projectAnswer, error) {
			p, err := desk.Project(ctx, in.Project)
			return showProject(http.StatusOK, p), err
		})
	register(a, huma.Operation{OperationID: "updateProject", Method: http.MethodPut, Path: "/projects/{project}", Summary: "Replace a project",
		Description: "What the body leaves out is empty afterwards. Its name, times and revision are not looked at; If-Match is."},
		func(ctx context.Context, in *struct {
			InProject
			OnlyIf
			Body ci.Project
		}) (*projectAnswer, error) {
			p := in.Body
			var err error
			if p.Revision, err = in.revision(); err != nil {
				return nil, err
			}
			p.Name = in.Project
			put, err := desk.UpdateProject(ctx, p)
			return showProject(http.StatusOK, put), err
		})
	register(a, huma.Operation{OperationID: "deleteProject", Method: http.MethodDelete, Path: "/projects/{project}", Summary: "Delete a project with all its builds", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *struct {
			InProject
			OnlyIf
			Force bool `query:"force" doc:"stop the builds that are not done"`
		}) (*struct{}, error) {
			revision, err := in.revision()
			if err != nil {
				return nil, err
			}
			return nil, desk.DeleteProject(ctx, in.Project, revision, in.Force)
		})
}
