package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/ci"
)

type budgetAnswer struct{ Body ci.BudgetStatus }

// ServerBudget is a request to set the budget of the server.
type ServerBudget struct {
	Body ci.Budget
}

// ProjectBudget is a request to set that of a project.
type ProjectBudget struct {
	InProject
	Body ci.Budget
}

func (a *API) budgets() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "listBudgets", Method: http.MethodGet, Path: "/budgets", Summary: "List the budgets that one may see, and how they stand this month"},
		func(ctx context.Context, _ *struct{}) (*listed[ci.BudgetStatus], error) {
			items, err := desk.Budgets(ctx)
			return list(items, ""), err
		})
	show := func(ctx context.Context, project string) (*budgetAnswer, error) {
		b, err := desk.Budget(ctx, project)
		return &budgetAnswer{b}, err
	}
	set := func(ctx context.Context, project string, b ci.Budget) (*budgetAnswer, error) {
		b.Project = project
		put, err := desk.SetBudget(ctx, b)
		return &budgetAnswer{put}, err
	}
	const of = "/projects/{project}/budget"
	const words = "A month is one of UTC. At each level of warn, and at 100 percent, an event is told once a month; at 100 percent new builds are " +
		"refused with code over_budget, unless warnOnly is set or override names the month. What runs goes on."
	register(a, huma.Operation{OperationID: "getServerBudget", Method: http.MethodGet, Path: "/budget", Summary: "Show the budget of the server, and how it stands this month"},
		func(ctx context.Context, _ *struct{}) (*budgetAnswer, error) { return show(ctx, "") })
	register(a, huma.Operation{OperationID: "setServerBudget", Method: http.MethodPut, Path: "/budget", Summary: "Set the monthly budget of the server; for administrators", Description: words, DefaultStatus: http.StatusOK},
		func(ctx context.Context, in *ServerBudget) (*budgetAnswer, error) { return set(ctx, "", in.Body) })
	register(a, huma.Operation{OperationID: "deleteServerBudget", Method: http.MethodDelete, Path: "/budget", Summary: "End the budget of the server; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, _ *struct{}) (*struct{}, error) { return nil, desk.DeleteBudget(ctx, "") })
	register(a, huma.Operation{OperationID: "getBudget", Method: http.MethodGet, Path: of, Summary: "Show the budget of a project, and how it stands this month"},
		func(ctx context.Context, in *InProject) (*budgetAnswer, error) { return show(ctx, in.Project) })
	register(a, huma.Operation{OperationID: "setBudget", Method: http.MethodPut, Path: of, Summary: "Set the monthly budget of a project; for administrators", Description: words, DefaultStatus: http.StatusOK},
		func(ctx context.Context, in *ProjectBudget) (*budgetAnswer, error) {
			return set(ctx, in.Project, in.Body)
		})
	register(a, huma.Operation{OperationID: "deleteBudget", Method: http.MethodDelete, Path: of, Summary: "End the budget of a project; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *InProject) (*struct{}, error) {
			return nil, desk.DeleteBudget(ctx, in.Project)
		})
}
