package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
)

type retentionAnswer struct{ Body app.Retained }

func (a *API) retention() {
	desk := a.cfg.App
	const path = "/projects/{project}/retention"
	register(a, huma.Operation{OperationID: "getRetention", Method: http.MethodGet, Path: path, Summary: "Show how long builds of a project are kept, and what would go now",
		Description: "Nothing is removed. What a project keeps is part of the project: update that to change it."},
		func(ctx context.Context, in *InProject) (*retentionAnswer, error) {
			r, err := desk.Retention(ctx, in.Project)
			return &retentionAnswer{r}, err
		})
	register(a, huma.Operation{OperationID: "applyRetention", Method: http.MethodPost, Path: path, Summary: "Remove now what is no longer kept of a project", DefaultStatus: http.StatusOK,
		Description: "The server does so every hour. The answer says what was removed."},
		func(ctx context.Context, in *InProject) (*retentionAnswer, error) {
			r, err := desk.ApplyRetention(ctx, in.Project)
			return &retentionAnswer{r}, err
		})
}
