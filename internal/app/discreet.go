package app

import (
	"context"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// usedBy is where the engine begins to name builds that have something:
// "7.0 GiB of 8.0 GiB in use by app #12, web #3, 2 more (place 1)".
const usedBy = " in use by "

// discreet takes out of what the engine says the names of builds that the user
// may not see: a build waits for those of all projects.
func (a *App) discreet(ctx context.Context, text string) (string, error) {
	before, named, found := strings.Cut(text, usedBy)
	u, err := asking(ctx)
	if err != nil || !found || seesAll(u) {
		return text, err
	}
	named, place, _ := strings.Cut(named, " (")
	if place != "" {
		place = " (" + place
	}
	list := strings.Split(named, ", ")
	var projects []string
	for _, name := range list {
		project, _, _ := strings.Cut(name, " #")
		projects = append(projects, project)
	}
	known, err := a.cfg.Store.ProjectsNamed(ctx, projects)
	if err != nil {
		return "", err
	}
	for i, project := range projects {
		p, ok := known[project]
		if _, isBuild := strings.CutPrefix(list[i], project+" #"); isBuild && !(ok && can(roleIn(u, p), viewBuild)) {
			list[i] = "a build of another project"
		}
	}
	return before + usedBy + strings.Join(slices.Compact(list), ", ") + place, nil
}

// waits is why a build of this server has not begun, as the user may know it.
func (a *App) waits(ctx context.Context, id ci.BuildID) string {
	text, err := a.discreet(ctx, a.cfg.Engine.Waits(id))
	if err != nil {
		return ""
	}
	return text
}

// discreetly is an event as the user may see it.
func (a *App) discreetly(ctx context.Context, e ci.Event) ci.Event {
	if e.Why == nil || len(e.Why.Waits) == 0 {
		return e
	}
	why := *e.Why
	why.Waits = slices.Clone(why.Waits)
	for i := range why.Waits {
		w := &why.Waits[i]
		text, err := a.discreet(ctx, w.Detail)
		if err != nil {
			text = ""
		}
		w.Detail = text
	}
	return e.Because(why)
}
