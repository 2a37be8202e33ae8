package app

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// UsageFilter chooses metered jobs and groups them; zero values choose all.
type UsageFilter struct {
	By      []string // of ci.UsageKeys
	Project string
	Branch  string
	User    string
	Since   time.Time // the day of it, in UTC
	Until   time.Time // the days before it
	Page
}

// Usage adds up what jobs were metered with, those of the projects that the user
// may see. Administrators of the server also see projects that were deleted.
func (a *App) Usage(ctx context.Context, f UsageFilter) (page []ci.UsageRow, next string, err error) {
	u, err := asking(ctx)
	if err != nil {
		return nil, "", err
	}
	q := store.UsageFilter{
		By: f.By, Project: f.Project, Branch: f.Branch, User: f.User, Since: f.Since, Until: f.Until, Limit: f.Limit, Cursor: f.After,
	}
	if !seesAll(u) {
		if f.Project != "" {
			if _, _, err := a.enter(ctx, viewUsage, f.Project); err != nil {
				return nil, "", err
			}
		} else if q.Projects, err = a.names(ctx, viewUsage); err != nil {
			return nil, "", err
		}
	}
	return a.cfg.Store.Usage(ctx, q)
}

// seesAll says whether the user is an administrator of the whole server.
func seesAll(u ci.User) bool { return u.Role == ci.RoleAdmin && u.Only == nil }

// names lists the projects in which the user may do what the verb says; never nil.
func (a *App) names(ctx context.Context, v verb) ([]string, error) {
	u, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for after, more := "", true; more; more = after != "" {
		var some []ci.Project
		if some, after, err = a.cfg.Store.Projects(ctx, "", after, 1000); err != nil {
			return nil, err
		}
		for _, p := range some {
			if can(roleIn(u, p), v) {
				names = append(names, p.Name)
			}
		}
	}
	return names, nil
}

// RebuildUsage meters the jobs of stored builds that are not metered.
func (a *App) RebuildUsage(ctx context.Context) (added int, err error) {
	u, err := manage(ctx, rebuildUsage)
	if err != nil {
		return 0, err
	}
	if added, err = a.cfg.Store.RebuildUsage(ctx); err != nil {
		return added, err
	}
	return added, a.changed(ctx, u, rebuildUsage, "", "", fmt.Sprintf("%d jobs", added))
}
