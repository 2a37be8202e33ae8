package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// PutTarget is the body of a request for a target.
type PutTarget struct {
	ci.Target
	Secret *string `json:"secret,omitempty" doc:"key of a webhook's signatures, or password of a mail server; kept as it is when left out, and never shown again"`
}

// OfTarget is a request that names a target.
type OfTarget struct {
	Target string `path:"target" maxLength:"200" doc:"name of the target"`
}

// InScope is a request about the targets of a project, or, where its path names
// none, about those of all projects.
type InScope struct{ project string }

// Resolve takes the project from the path. The mux lets no empty one through.
func (s *InScope) Resolve(ctx huma.Context) []error {
	s.project = ctx.Param("project")
	return nil
}

type targetAnswer struct {
	Status       int
	CacheControl string `header:"Cache-Control"`
	Body         app.TargetPut
}

// targets registers the operations twice: for the targets of all projects and for
// those of one.
func (a *API) targets() {
	a.targetsOf("", "", "of all projects; for administrators")
	a.targetsOf("/projects/{project}", "Project", "of a project; for its maintainers")
}

func (a *API) targetsOf(prefix, name, of string) {
	desk := a.cfg.App
	var params []*huma.Param
	if prefix != "" {
		most := 200
		params = []*huma.Param{{Name: "project", In: "path", Required: true, Description: "name of the project", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &most}}}
	}
	const target = "/targets/{target}"
	register(a, huma.Operation{OperationID: "list" + name + "Targets", Method: http.MethodGet, Path: prefix + "/targets", Summary: "List the targets of notifications " + of, Parameters: params},
		func(ctx context.Context, in *struct{ InScope }) (*listed[ci.Target], error) {
			items, err := desk.Targets(ctx, in.project)
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "get" + name + "Target", Method: http.MethodGet, Path: prefix + target, Summary: "Show a target " + of, Parameters: params},
		func(ctx context.Context, in *struct {
			InScope
			OfTarget
		}) (*struct{ Body ci.Target }, error) {
			t, err := desk.Target(ctx, in.project, in.Target)
			return &struct{ Body ci.Target }{t}, err
		})
	register(a, huma.Operation{OperationID: "put" + name + "Target", Method: http.MethodPut, Path: prefix + target, Summary: "Make a target, or replace one, " + of, Parameters: params,
		Description: "What the body leaves out is empty afterwards, but the secret stays. Its name, project and times are not looked at. " +
			"A new webhook without a secret is given one, which the answer has, this once. 201 instead of 200 says that there was no such target."},
		func(ctx context.Context, in *struct {
			InScope
			OfTarget
			Body PutTarget
		}) (*targetAnswer, error) {
			put := app.PutTarget(in.Body)
			put.Name, put.Project = in.Target, in.project
			t, made, err := desk.PutTarget(ctx, put)
			out := &targetAnswer{http.StatusOK, "no-store", t}
			if made {
				out.Status = http.StatusCreated
			}
			return out, err
		})
	register(a, huma.Operation{OperationID: "delete" + name + "Target", Method: http.MethodDelete, Path: prefix + target, Summary: "Delete a target " + of, Parameters: params, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *struct {
			InScope
			OfTarget
		}) (*struct{}, error) {
			return nil, desk.DeleteTarget(ctx, in.project, in.Target)
		})
	register(a, huma.Operation{OperationID: "test" + name + "Target", Method: http.MethodPost, Path: prefix + target + "/test", Summary: "Send a test to a target " + of, Parameters: params,
		Description: "One attempt, whose outcome is the answer."},
		func(ctx context.Context, in *struct {
			InScope
			OfTarget
		}) (*struct{ Body app.TargetTest }, error) {
			out, err := desk.TestTarget(ctx, in.project, in.Target)
			return &struct{ Body app.TargetTest }{out}, err
		})
	register(a, huma.Operation{OperationID: "list" + name + "Deliveries", Method: http.MethodGet, Path: prefix + target + "/deliveries", Summary: "List what was and will be sent to a target " + of, Parameters: params},
		func(ctx context.Context, in *struct {
			InScope
			OfTarget
			Paging
			State string `query:"state" enum:"pending,delivered,dead" doc:"only those in this state"`
		}) (*listed[ci.Delivery], error) {
			items, next, err := desk.Deliveries(ctx, in.project, in.Target, ci.DeliveryState(in.State), in.page())
			return list(items, next), err
		})
	register(a, huma.Operation{OperationID: "redeliver" + name, Method: http.MethodPost, Path: prefix + target + "/redeliver", Summary: "Send again what was given up, or one delivery, to a target " + of, Parameters: params},
		func(ctx context.Context, in *struct {
			InScope
			OfTarget
			Delivery int64 `query:"delivery" minimum:"0" doc:"id of the delivery; all that were given up when left out"`
		}) (*struct{ Body Redelivered }, error) {
			n, err := desk.Redeliver(ctx, in.project, in.Target, in.Delivery)
			return &struct{ Body Redelivered }{Redelivered{n}}, err
		})
}

// Redelivered says how many deliveries are sent again.
type Redelivered struct {
	Deliveries int64 `json:"deliveries"`
}
