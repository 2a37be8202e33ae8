package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// noting has the entry about a change written in the transaction of the change:
// neither is ever there without the other. The change is made with the context
// that is the answer, and changed is told of it afterwards as of any.
func (a *App) noting(ctx context.Context, u ci.User, v verb, project, detail string, build ...ci.BuildID) context.Context {
	if a.cfg.Audit != nil {
		return ctx
	}
	e := u.Entry(string(v))
	e.Time, e.Project, e.Detail = a.cfg.Now(), project, detail
	if len(build) > 0 { // one that is there already
		e.Build = build[0]
	}
	return store.Noting(ctx, e)
}

// changed writes into the audit, before anybody is answered, what was not
// written together with the change. The change stands, so that an audit that
// cannot be written is an error of its own.
func (a *App) changed(ctx context.Context, u ci.User, v verb, project string, build ci.BuildID, detail string) error {
	if store.Noted(ctx) {
		return nil
	}
	e := u.Entry(string(v))
	e.Time, e.Project, e.Build, e.Detail = a.cfg.Now(), project, build, detail
	if err := a.note(ctx, e); err != nil {
		return fmt.Errorf("%s was done, but could not be written into the audit log: %w", v, err)
	}
	return nil
}

func (a *App) note(ctx context.Context, e ci.AuditEntry) error {
	ctx = context.WithoutCancel(ctx)
	if a.cfg.Audit != nil {
		return a.cfg.Audit(ctx, e)
	}
	return a.cfg.Store.Note(ctx, e)
}

// AuditFilter chooses entries of the audit. Zero values choose all.
type AuditFilter struct {
	User    string
	Project string
	Verb    string // project.delete, or project for all that is done to projects
	Since   time.Time
	Until   time.Time
	Page
}

// Audit lists what was done, the newest first: all of it for administrators of
// the server, what was done in a project for those of the project. next is "" at
// the end.
func (a *App) Audit(ctx context.Context, f AuditFilter) (page []ci.AuditEntry, next string, err error) {
	if _, err := manage(ctx, viewAudit); err != nil {
		if f.Project == "" {
			return nil, "", err
		}
		if _, _, err := a.enter(ctx, viewAudit, f.Project); err != nil {
			return nil, "", err
		}
	}
	limit := f.Limit
	if limit == 0 {
		limit = usualPage
	}
	return a.cfg.Store.Audit(ctx, store.AuditFilter{
		User: f.User, Project: f.Project, Verb: strings.TrimSuffix(f.Verb, ".*"), Since: f.Since, Until: f.Until, Limit: limit, Cursor: f.After,
	})
}
