package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/store"
)

const usualPage = 50

// BuildInfo is a build as it now stands.
type BuildInfo struct {
	ci.Build
	Waits string `json:"waits,omitempty"` // why it has not begun; "" = it has, or nothing keeps it
	Retry int64  `json:"retry,omitempty"` // number of the build that tried it again by itself
}

// Start asks for a build of a project. What it leaves open is the project's.
type Start struct {
	Key       string     // the same key finds the build that it first started
	Source    *ci.Source // instead of the project's
	Ref       string     // branch, tag or commit
	File      string
	Inline    string
	Batch     *bool
	Variables []ci.Variable // merged by name over the project's
	Runtime   ci.Runtime    // field by field over the project's
	Limits    ci.Limits     // the same

	Parameters map[string]string // those that the project declares
	Artifacts  string            // how they are kept
}

// StartBuild starts a build; it is stored when this returns. made is false when
// one was started with the same key before: that one is the answer.
func (a *App) StartBuild(ctx context.Context, project string, s Start) (b BuildInfo, made bool, err error) {
	p, u, err := a.enter(ctx, startBuild, project)
	if err != nil {
		return BuildInfo{}, false, err
	}
	if err := s.check(); err != nil {
		return BuildInfo{}, false, err
	}
	asked := p
	asked.Runtime = mergeRuntime(p.Runtime, s.Runtime)
	if err := openDoors(u, p, asked); err != nil {
		return BuildInfo{}, false, err
	}
	if err := a.checkSource(ctx, u, p, s.Source); err != nil {
		return BuildInfo{}, false, err
	}
	vars, err := a.given(ctx, p, s.Parameters, s.Variables)
	if err != nil {
		return BuildInfo{}, false, err
	}
	r := s.request(p, u)
	r.Variables = mergeVariables(r.Variables, vars)
	if s.Key != "" {
		r.Asked = s.asked(p)
	}
	ctx = a.noting(ctx, u, startBuild, project, "")
	rec, made, err := a.cfg.Engine.Enqueue(ctx, r)
	if err != nil {
		return BuildInfo{}, false, err
	}
	if !made && rec.Asked != "" && rec.Asked != r.Asked {
		return BuildInfo{}, false, fmt.Errorf("key %q: build %s/%d was started with it, and otherwise than now: take another key for another build: %w", s.Key, project, rec.Number, ci.ErrConflict)
	}
	if made {
		err = a.changed(ctx, u, startBuild, project, rec.ID, fmt.Sprintf("build %d", rec.Number))
	}
	return BuildInfo{Build: rec, Waits: a.waits(ctx, rec.ID)}, made, err
}

func (s *Start) check() error {
	in := &Invalid{}
	in.text("key", s.Key, maxTagValue)
	if s.Source != nil {
		in.source(*s.Source)
		if s.Source.Type == typeUpload && s.Ref != "" {
			in.add("ref", "an upload has no versions: leave it out")
		}
	}
	in.ref("ref", s.Ref)
	in.file("file", s.File)
	in.text("inline", s.Inline, maxInline)
	in.variables("variables", s.Variables)
	in.runtime("runtime", s.Runtime)
	in.limits(s.Limits)
	in.packaging(s.Artifacts)
	if s.Limits.Builds != 0 {
		in.add("limits.builds", "holds for the whole project: set it there")
	}
	if s.Limits.WhenFull != "" {
		in.add("limits.whenFull", "holds for the whole project: set it there")
	}
	return in.err()
}

// checkSource refuses to build from elsewhere what the user may not choose, and
// uploads that are not there. The server reads repositories with what it knows,
// so that who may only start builds does not say which.
func (a *App) checkSource(ctx context.Context, u ci.User, p ci.Project, other *ci.Source) error {
	s := p.Source
	if other != nil {
		s = *other
	}
	if s.Type == typeUpload {
		return a.checkUpload(ctx, p.Name, s)
	}
	if s.Type == p.Source.Type && s.Location == p.Source.Location {
		return nil
	}
	if role := roleIn(u, p); !can(role, updateProject) {
		return fmt.Errorf("project %q: a build of another source takes the role %s, and yours is %s; send the files with 'sluice run --remote', or ask an administrator: %w", p.Name, least(updateProject), role, ci.ErrDenied)
	}
	moved := p
	moved.Source = s
	return openDoors(u, p, moved)
}

// request puts the overrides over the project.
func (s *Start) request(p ci.Project, u ci.User) engine.Request {
	r := engine.Request{
		Key: keyOf("start", s.Key), Project: p.Name, Source: p.Source, Initiator: u.Name, File: p.File, Inline: p.Inline, Batch: p.Batch,
		Variables: mergeVariables(p.Variables, s.Variables), Runtime: mergeRuntime(p.Runtime, s.Runtime), Limits: p.Limits,
		Packaging: p.Artifacts,
	}
	if s.Source != nil {
		r.Source = *s.Source
	}
	if s.Ref != "" {
		r.Source.Version = s.Ref
	}
	if s.File != "" {
		r.File, r.Inline = s.File, ""
	}
	if s.Inline != "" {
		r.Inline = s.Inline
	}
	set(&r.Packaging, s.Artifacts)
	if s.Batch != nil {
		r.Batch = *s.Batch
	}
	set(&r.Limits.Timeout, s.Limits.Timeout)
	set(&r.Limits.Queue, s.Limits.Queue)
	set(&r.Limits.Jobs, s.Limits.Jobs)
	set(&r.Limits.AutoRetry, s.Limits.AutoRetry)
	set(&r.Limits.Supersede, s.Limits.Supersede)
	return r
}

// keyOf keeps apart the keys of different operations, and those of users from
// those that triggers make.
func keyOf(what, key string) string {
	if key == "" {
		return ""
	}
	return what + " by a user: " + key
}

func mergeVariables(project, build []ci.Variable) []ci.Variable {
	merged := append([]ci.Variable(nil), project...)
	at := map[string]int{}
	for i, v := range merged {
		at[v.Name] = i
	}
	for _, v := range build {
		if i, ok := at[v.Name]; ok {
			merged[i] = v
		} else {
			merged = append(merged, v)
		}
	}
	return merged
}

func mergeRuntime(project, build ci.Runtime) ci.Runtime {
	r := project
	if build.Image != "" || build.Dockerfile != "" { // each of them says what the image is
		r.Image, r.Dockerfile = build.Image, build.Dockerfile
	}
	set(&r.Executor, build.Executor)
	set(&r.Type, build.Type)
	set(&r.Isolation, build.Isolation)
	set(&r.Network, build.Network)
	if build.Size != "" { // a size stands for both
		r.Size, r.CPUs, r.Memory = build.Size, 0, 0
	}
	set(&r.CPUs, build.CPUs)
	set(&r.Memory, build.Memory)
	set(&r.Processes, build.Processes)
	r.Privileged = r.Privileged || build.Privileged
	return r
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// Filter chooses builds; zero values choose all.
type Filter struct {
	Project   string
	Status    []ci.Status
	Ref       string
	Commit    string
	Initiator string
	Since     time.Time
	Until     time.Time
	Page
}

// Builds lists builds that the user may see, the newest first, without their
// steps. next is "" at the end. A page may be shorter than its limit before the end.
func (a *App) Builds(ctx context.Context, f Filter) (page []ci.Build, next string, err error) {
	u, err := asking(ctx)
	if err != nil {
		return nil, "", err
	}
	entered := f.Project
	if f.Project != "" {
		if _, _, err := a.enter(ctx, viewBuild, f.Project); err != nil {
			return nil, "", err
		}
	} else if len(u.Only) == 1 {
		f.Project = u.Only[0]
	}
	page, next, err = a.cfg.Store.Builds(ctx, store.Filter{
		Project: f.Project, Status: f.Status, Ref: f.Ref, Commit: f.Commit, Initiator: f.Initiator,
		Since: f.Since, Until: f.Until, Limit: f.Limit, Cursor: f.After,
	})
	if err != nil {
		return nil, "", err
	}
	if f.Project == "" || f.Project != entered {
		page, err = a.visible(ctx, u, page)
	}
	return page, next, err
}

// visible leaves out the builds of projects that the user may not see.
func (a *App) visible(ctx context.Context, u ci.User, builds []ci.Build) ([]ci.Build, error) {
	var names []string
	last := map[string]bool{}
	for _, b := range builds {
		if !last[b.Project] {
			last[b.Project] = true
			names = append(names, b.Project)
		}
	}
	projects, err := a.cfg.Store.ProjectsNamed(ctx, names)
	if err != nil {
		return nil, err
	}
	kept := builds[:0]
	for _, b := range builds {
		if p, ok := projects[b.Project]; ok && can(roleIn(u, p), viewBuild) {
			kept = append(kept, b)
		}
	}
	return kept, nil
}

// find is enter, for a build of the project.
func (a *App) find(ctx context.Context, v verb, project string, number int64) (ci.BuildID, ci.User, error) {
	_, u, err := a.enter(ctx, v, project)
	if err != nil {
		return "", u, err
	}
	id, err := a.cfg.Store.BuildByNumber(ctx, project, number)
	return id, u, err
}

func (a *App) load(ctx context.Context, project string, number int64) (ci.Build, error) {
	id, _, err := a.find(ctx, viewBuild, project, number)
	if err != nil {
		return ci.Build{}, err
	}
	return a.cfg.Engine.Build(ctx, id)
}

// Build shows a build with all its jobs and steps.
func (a *App) Build(ctx context.Context, project string, number int64) (BuildInfo, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return BuildInfo{}, err
	}
	if b.Status.Done() {
		info := BuildInfo{Build: b}
		if b.Attempt < b.Limits.AutoRetry && !b.Status.OK() {
			next, err := a.cfg.Store.BuildByKey(ctx, b.Project, autoRetryKey(b.ID))
			if err != nil && !errors.Is(err, ci.ErrNotFound) {
				return BuildInfo{}, err
			}
			info.Retry = next.Number
		}
		return info, nil
	}
	return BuildInfo{Build: b, Waits: a.waits(ctx, b.ID)}, nil
}

// StopBuild asks a build to stop, and answers with how it then stands. Stopping
// one that is done changes nothing.
func (a *App) StopBuild(ctx context.Context, project string, number int64) (BuildInfo, error) {
	id, u, err := a.find(ctx, stopBuild, project, number)
	if err != nil {
		return BuildInfo{}, err
	}
	b, err := a.cfg.Engine.Build(ctx, id)
	if err != nil {
		return BuildInfo{}, err
	}
	if !b.Status.Done() && b.Cancel == "" {
		ctx := a.noting(ctx, u, stopBuild, project, fmt.Sprintf("build %d", number), id)
		if err := a.cfg.Engine.Cancel(ctx, id, ci.ErrCanceled); err != nil {
			return BuildInfo{}, err
		}
		if err := a.changed(ctx, u, stopBuild, project, id, fmt.Sprintf("build %d", number)); err != nil {
			return BuildInfo{}, err
		}
		if b, err = a.cfg.Engine.Build(ctx, id); err != nil {
			return BuildInfo{}, err
		}
	}
	return BuildInfo{Build: b}, nil
}

// pinned is the source of a build at the commit that it was resolved to.
func pinned(b ci.Build) ci.Source {
	s := b.Source
	switch {
	case s.Type != "git" || b.Commit.Hash == "":
	case strings.HasPrefix(b.Commit.Ref, "refs/"):
		s.Version = b.Commit.Ref + "^{" + b.Commit.Hash + "}"
	default:
		s.Version = b.Commit.Hash
	}
	return s
}

// DeleteBuild removes a build that is done, with its logs and artifacts.
func (a *App) DeleteBuild(ctx context.Context, project string, number int64) error {
	id, u, err := a.find(ctx, deleteBuild, project, number)
	if err != nil {
		return err
	}
	ctx = a.noting(ctx, u, deleteBuild, project, fmt.Sprintf("build %d", number), id)
	if err := a.cfg.Store.DeleteBuild(ctx, id); err != nil {
		return err
	}
	return errors.Join(a.changed(ctx, u, deleteBuild, project, id, fmt.Sprintf("build %d", number)),
		a.discard(ctx, id, ci.PartBuild))
}

// stopAll stops what of a project is not done, and waits for it to be.
func (a *App) stopAll(ctx context.Context, project string) error {
	open, err := a.list(ctx, store.Filter{Project: project, Status: []ci.Status{ci.Queued, ci.Running, ci.Waiting}})
	if err != nil {
		return err
	}
	for _, id := range open {
		if err := a.cfg.Engine.Cancel(ctx, id, ci.ErrCanceled); err != nil {
			return err
		}
	}
	for _, id := range open {
		if err := a.cfg.Engine.Follow(ctx, id, 1, func(ci.Event) bool { return true }); err != nil && !errors.Is(err, ci.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (a *App) allBuilds(ctx context.Context, project string) ([]ci.BuildID, error) {
	return a.list(ctx, store.Filter{Project: project})
}

// list reads all pages of a listing.
func (a *App) list(ctx context.Context, f store.Filter) (ids []ci.BuildID, err error) {
	f.Limit = 1000
	for {
		page, next, err := a.cfg.Store.Builds(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, b := range page {
			ids = append(ids, b.ID)
		}
		if f.Cursor = next; next == "" {
			return ids, nil
		}
	}
}
