package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// Retained says how long builds of a project are kept, and what of them goes at
// the next sweep.
type Retained struct {
	Project string         `json:"project"`
	Own     ci.Retention   `json:"own"`    // what the project says
	Limits  ci.Retention   `json:"limits"` // with what the server has where it says nothing
	Goes    []RetainedPart `json:"goes"`
}

// RetainedPart is what goes of one kind.
type RetainedPart struct {
	Part    string  `json:"part"`    // build, artifacts or logs
	Builds  int     `json:"builds"`  // of how many builds
	Numbers []int64 `json:"numbers"` // of those, the oldest; at most 1,000
}

const (
	sweepAtOnce  = 100 // builds in one transaction
	mostNumbers  = 1000
	retentionBot = "retention" // who removes, in the audit
)

// Retention shows how long builds of a project are kept and what would go now.
// Nothing is removed.
func (a *App) Retention(ctx context.Context, project string) (Retained, error) {
	p, _, err := a.enter(ctx, viewProject, project)
	if err != nil {
		return Retained{}, err
	}
	return a.retained(ctx, p, nil)
}

// ApplyRetention removes what is no longer kept of a project, and says what that
// was.
func (a *App) ApplyRetention(ctx context.Context, project string) (Retained, error) {
	p, u, err := a.enter(ctx, deleteBuild, project)
	if err != nil {
		return Retained{}, err
	}
	return a.retained(ctx, p, &u)
}

// retained looks for what goes and, as somebody, removes it.
func (a *App) retained(ctx context.Context, p ci.Project, by *ci.User) (Retained, error) {
	out := Retained{Project: p.Name, Own: p.Retention, Limits: p.Retention.Over(a.cfg.Retention), Goes: []RetainedPart{}}
	for _, part := range []string{ci.PartBuild, ci.PartArtifacts, ci.PartLogs} {
		goes := RetainedPart{Part: part, Numbers: []int64{}}
		keep, days := out.Limits.Limit(part)
		query := store.Overdue{Project: p.Name, Part: part, Keep: keep, Before: ci.Before(a.cfg.Now(), days), Limit: sweepAtOnce}
		for {
			some, err := a.cfg.Store.Overdue(ctx, query)
			if err != nil {
				return out, err
			}
			if len(some) == 0 {
				break
			}
			last := some[len(some)-1]
			query.After = &last
			if by != nil {
				if some, err = a.expire(ctx, *by, p.Name, part, some); err != nil {
					return out, err
				}
			}
			for _, b := range some {
				if goes.Builds++; len(goes.Numbers) < mostNumbers {
					goes.Numbers = append(goes.Numbers, b.Number)
				}
			}
		}
		out.Goes = append(out.Goes, goes)
	}
	return out, nil
}

// expire removes a part of some builds: first in the database, with the entry in
// the audit, then outside.
func (a *App) expire(ctx context.Context, u ci.User, project, part string, some []store.Aged) ([]store.Aged, error) {
	ids := make([]ci.BuildID, len(some))
	for i, b := range some {
		ids[i] = b.ID
	}
	detail := fmt.Sprintf("%s of builds %d to %d, %d in all", part, some[0].Number, some[len(some)-1].Number, len(some))
	noted := a.noting(ctx, u, sweepBuilds, project, detail)
	gone, err := a.cfg.Store.Expire(noted, part, ids)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	err = a.changed(noted, u, sweepBuilds, project, "", detail)
	went := some[:0]
	for _, b := range some {
		if slices.Contains(gone, b.ID) {
			went = append(went, b)
			err = errors.Join(err, a.discard(ctx, b.ID, part))
		}
	}
	return went, err
}

// discard removes a part of a build outside the database. What it fails at or is
// killed at, the next sweep goes on with.
func (a *App) discard(ctx context.Context, id ci.BuildID, part string) error {
	ctx = context.WithoutCancel(ctx)
	if err := a.cfg.Discard(ctx, id, part); err != nil {
		return err
	}
	return a.cfg.Store.Discarded(ctx, store.Discard{Build: id, Part: part})
}

// Sweep removes what is no longer kept of all projects, and first what an earlier
// process was killed at. It goes on behind a project at which it fails.
func (a *App) Sweep(ctx context.Context) error {
	if err := a.sweepDiscards(ctx); err != nil {
		return err
	}
	var errs []error
	bot := ci.User{Name: retentionBot}
	for after := ""; ; {
		page, next, err := a.cfg.Store.Projects(ctx, "", after, mostNumbers)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, p := range page {
			if p.Retention.Over(a.cfg.Retention) == (ci.Retention{}) {
				continue
			}
			if _, err := a.retained(ctx, p, &bot); err != nil {
				errs = append(errs, fmt.Errorf("project %q: %w", p.Name, err))
			}
			if ctx.Err() != nil {
				return errors.Join(errs...)
			}
		}
		if after = next; after == "" {
			return errors.Join(errs...)
		}
	}
}

// sweepDiscards goes on with what is still to be removed outside the database.
func (a *App) sweepDiscards(ctx context.Context) error {
	for {
		left, err := a.cfg.Store.Discards(ctx, mostNumbers)
		if err != nil || len(left) == 0 {
			return err
		}
		var errs []error
		for _, d := range left {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			errs = append(errs, a.discard(ctx, d.Build, d.Part))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
}

// removed is the error about a part of a build that retention took; nil when it
// is still there.
func (a *App) removed(ctx context.Context, id ci.BuildID, part, project string, number int64) error {
	parts, err := a.cfg.Store.Expired(ctx, id)
	if err != nil {
		return err
	}
	if at, ok := parts[part]; ok {
		return fmt.Errorf("%s of build %s/%d: %w: removed on %s, since the project keeps them no longer", part, project, number, ci.ErrNotFound, at.Format(time.DateOnly))
	}
	return nil
}
