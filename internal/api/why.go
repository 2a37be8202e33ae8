package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
)

func (a *API) why() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "whyBuild", Method: http.MethodGet, Path: "/projects/{project}/builds/{number}/why", Summary: "Say why a build went as it did",
		Description: "Every decision in order: what was looked at, what it was at that moment, and what that led to."},
		func(ctx context.Context, in *InBuild) (*listed[app.Because], error) {
			items, err := desk.Why(ctx, in.Project, in.Number)
			return list(items, ""), err
		})
}
