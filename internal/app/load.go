package app

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/sluice-ci/sluice/internal/ci"
)

// mostShown is how many jobs of a kind a load lists.
const mostShown = 500

// seen are the projects of a load that the user may see.
func (a *App) seen(ctx context.Context, u ci.User, l ci.Load) (map[string]bool, error) {
	visible := map[string]bool{}
	for _, j := range slices.Concat(l.Running, l.Waiting) {
		visible[j.Project] = false
	}
	projects, err := a.cfg.Store.ProjectsNamed(ctx, slices.Collect(maps.Keys(visible)))
	for name, p := range projects {
		visible[name] = can(roleIn(u, p), viewBuild)
	}
	return visible, err
}

// Load says what this server has running and waiting. Of projects that the user
// may not see it tells only how much there is.
func (a *App) Load(ctx context.Context) (ci.Load, error) {
	u, err := asking(ctx)
	if err != nil {
		return ci.Load{}, err
	}
	l := a.cfg.Engine.Load()
	all := seesAll(u)
	visible := map[string]bool{}
	if !all {
		if visible, err = a.seen(ctx, u, l); err != nil {
			return ci.Load{}, err
		}
	}
	by := map[string]*ci.LoadProject{}
	// shown are those that the user may see; the others are counted.
	shown := func(jobs []ci.LoadJob, count func(*ci.LoadProject, ci.LoadJob)) []ci.LoadJob {
		kept := []ci.LoadJob{}
		for _, j := range jobs {
			if !all && !visible[j.Project] {
				count(&l.Others, j)
				continue
			}
			if by[j.Project] == nil {
				by[j.Project] = &ci.LoadProject{Project: j.Project}
			}
			count(by[j.Project], j)
			if len(kept) < mostShown {
				kept = append(kept, j)
			}
		}
		return kept
	}
	l.Running = shown(l.Running, func(p *ci.LoadProject, j ci.LoadJob) {
		p.Running++
		p.Takes.CPUs += j.Takes.CPUs
		p.Takes.Memory += j.Takes.Memory
	})
	l.Waiting = shown(l.Waiting, func(p *ci.LoadProject, _ ci.LoadJob) { p.Waiting++ })
	for i := range l.Waiting {
		if l.Waiting[i].Detail, err = a.discreet(ctx, l.Waiting[i].Detail); err != nil {
			return ci.Load{}, err
		}
	}
	l.Projects = make([]ci.LoadProject, 0, len(by))
	for _, p := range by {
		l.Projects = append(l.Projects, *p)
	}
	slices.SortFunc(l.Projects, func(x, y ci.LoadProject) int {
		return cmp.Or(cmp.Compare(y.Running, x.Running), cmp.Compare(y.Waiting, x.Waiting), cmp.Compare(x.Project, y.Project))
	})
	return l, nil
}
