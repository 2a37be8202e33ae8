package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/ci"
)

func (a *API) load() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "getLoad", Method: http.MethodGet, Path: "/load", Summary: "Show what runs, what waits, and how much of the server that takes",
		Description: "Of projects that one may not see it tells only how much there is. At most 500 jobs of each kind are listed; projects counts all."},
		func(ctx context.Context, _ *struct{}) (*struct {
			CacheControl string `header:"Cache-Control"`
			Body         ci.Load
		}, error) {
			l, err := desk.Load(ctx)
			return &struct {
				CacheControl string `header:"Cache-Control"`
				Body         ci.Load
			}{"no-store", l}, err
		})
}
