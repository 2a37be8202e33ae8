package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

func (a *API) audit() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "listAudit", Method: http.MethodGet, Path: "/audit", Summary: "List who did what, when and from where, the newest first",
		Description: "For administrators of the server; with project also for those of the project."},
		func(ctx context.Context, in *struct {
			Paging
			User    string    `query:"user" maxLength:"200" doc:"what this user did"`
			Project string    `query:"project" maxLength:"200" doc:"what was done in this project"`
			Verb    string    `query:"verb" maxLength:"200" doc:"project.delete; or project for all that is done to projects"`
			Since   time.Time `query:"since" doc:"done then or later"`
			Until   time.Time `query:"until" doc:"done before"`
		}) (*listed[ci.AuditEntry], error) {
			items, next, err := desk.Audit(ctx, app.AuditFilter{User: in.User, Project: in.Project, Verb: in.Verb, Since: in.Since, Until: in.Until, Page: in.page()})
			return list(items, next), err
		})
}
