package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Page asks for a part of a list. The zero value is the first.
type Page struct {
	Limit int    // 0 = 50
	After string // what the page before gave as next
}

// Projects lists the projects that the user may see, by name, those that begin
// with prefix. next is "" at the end.
func (a *App) Projects(ctx context.Context, prefix string, p Page) (page []ci.Project, next string, err error) {
	u, err := asking(ctx)
	if err != nil {
		return nil, "", err
	}
	limit := p.Limit
	if limit == 0 {
		limit = usualPage
	}
	next = p.After
	for {
		some, more, err := a.cfg.Store.Projects(ctx, prefix, next, limit)
		if err != nil {
			return nil, "", err
		}
		for i, p := range some {
			if !can(roleIn(u, p), viewProject) {
				continue
			}
			if page = append(page, p); len(page) == limit && (more != "" || i < len(some)-1) {
				return page, p.Name, nil
			}
		}
		if next = more; next == "" || len(page) == limit {
			return page, next, nil
		}
	}
}

// Project shows one project.
func (a *App) Project(ctx context.Context, name string) (ci.Project, error) {
	p, _, err := a.enter(ctx, viewProject, name)
	return p, err
}

// CreateProject stores a new project.
func (a *App) CreateProject(ctx context.Context, p ci.Project) (ci.Project, error) {
	u, err := asking(ctx)
	if err != nil {
		return ci.Project{}, err
	}
	if u.Only != nil {
		return ci.Project{}, fmt.Errorf("the token is for some projects only, and cannot make others: use another token: %w", ci.ErrDenied)
	}
	if !can(u.Role, createProject) {
		return ci.Project{}, refused(u.Role, createProject, "the server")
	}
	if err := checkProject(p); err != nil {
		return ci.Project{}, err
	}
	if err := openDoors(u, ci.Project{}, p); err != nil {
		return ci.Project{}, err
	}
	if err := a.checkAfter(ctx, u, p, nil); err != nil {
		return ci.Project{}, err
	}
	p.Revision = 0
	ctx = a.noting(ctx, u, createProject, p.Name, "")
	made, err := a.cfg.Store.PutProject(ctx, p)
	if err != nil {
		return ci.Project{}, circular(err)
	}
	return made, a.changed(ctx, u, createProject, p.Name, "", "")
}

// UpdateProject replaces a project. With a Revision, it must still be the stored
// one's (ci.ErrConflict); with 0, what is stored is replaced whatever it is.
func (a *App) UpdateProject(ctx context.Context, p ci.Project) (ci.Project, error) {
	old, u, err := a.enter(ctx, updateProject, p.Name)
	if err != nil {
		return ci.Project{}, err
	}
	if err := checkProject(p); err != nil {
		return ci.Project{}, err
	}
	if err := a.checkAfter(ctx, u, p, old.After); err != nil {
		return ci.Project{}, err
	}
	blind := p.Revision == 0
	for {
		if err := openDoors(u, old, p); err != nil {
			return ci.Project{}, err
		}
		if blind {
			p.Revision = old.Revision
		}
		noting := a.noting(ctx, u, updateProject, p.Name, fmt.Sprintf("revision %d", p.Revision+1))
		put, err := a.cfg.Store.PutProject(noting, p)
		if err == nil {
			return put, a.changed(noting, u, updateProject, p.Name, "", fmt.Sprintf("revision %d", put.Revision))
		}
		if !errors.Is(err, ci.ErrConflict) {
			return ci.Project{}, circular(err)
		}
		if !blind {
			return ci.Project{}, &Changed{err}
		}
		// Somebody was faster; his change is replaced like the one before it.
		if old, _, err = a.enter(ctx, updateProject, p.Name); err != nil {
			return ci.Project{}, err
		}
	}
}

// checkAfter refuses to build a project after others that the user does not see,
// or that are not there. Those it had before stay.
func (a *App) checkAfter(ctx context.Context, u ci.User, p ci.Project, before []string) error {
	in := &Invalid{}
	for n, name := range p.After {
		if slices.Contains(before, name) {
			continue
		}
		up, err := a.cfg.Store.Project(ctx, name)
		if err != nil && !errors.Is(err, ci.ErrNotFound) {
			return err
		}
		if err != nil || !can(roleIn(u, up), viewBuild) {
			in.add(fmt.Sprintf("after[%d]", n), "there is no project %q", name)
		}
	}
	return in.err()
}

// circular names the field that the store refused.
func circular(err error) error {
	if errors.Is(err, ci.ErrInvalid) {
		in := &Invalid{}
		in.add("after", "%s", ci.Message(err))
		return in
	}
	return err
}

// Changed is the ci.ErrConflict of one who asked for a change of a revision that
// is no longer the newest.
type Changed struct{ err error }

func (c *Changed) Error() string { return c.err.Error() }

// Unwrap gives the conflict.
func (c *Changed) Unwrap() error { return c.err }

// stopTries is how often DeleteProject stops builds that are started while it
// waits for the end of others.
const stopTries = 5

// DeleteProject removes a project with all its builds. While builds of it are
// not done that is ci.ErrConflict, unless force has them stopped first.
func (a *App) DeleteProject(ctx context.Context, name string, revision int64, force bool) error {
	p, u, err := a.enter(ctx, deleteProject, name)
	if err != nil {
		return err
	}
	if revision != 0 && revision != p.Revision {
		return &Changed{fmt.Errorf("project %q: revision %d was changed meanwhile and is now %d; look at it again first: %w", name, revision, p.Revision, ci.ErrConflict)}
	}
	ids, err := a.allBuilds(ctx, name)
	if err != nil {
		return err
	}
	noting := a.noting(ctx, u, deleteProject, name, fmt.Sprintf("%d builds", len(ids)))
	err = a.cfg.Store.DeleteProject(noting, name, false)
	for tries := 0; force && errors.Is(err, ci.ErrConflict) && tries < stopTries; tries++ {
		if err := a.stopAll(ctx, name); err != nil {
			return err
		}
		if ids, err = a.allBuilds(ctx, name); err != nil {
			return err
		}
		noting = a.noting(ctx, u, deleteProject, name, fmt.Sprintf("%d builds", len(ids)))
		err = a.cfg.Store.DeleteProject(noting, name, false)
	}
	if err != nil {
		return err
	}
	err = a.changed(noting, u, deleteProject, name, "", fmt.Sprintf("%d builds", len(ids)))
	for _, id := range ids {
		err = errors.Join(err, a.discard(ctx, id, ci.PartBuild))
	}
	if a.cfg.Uploads != nil {
		err = errors.Join(err, a.cfg.Uploads.Remove(context.WithoutCancel(ctx), name))
	}
	return err
}
