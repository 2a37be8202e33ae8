package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/store"
)

// sequelPause is how long what could not be done is left alone.
const sequelPause = 5 * time.Second

// FollowUp does what comes of builds until ctx ends: tries again what failed,
// builds what is built after others, ends what newer builds supersede. Each is
// stored with what it came of and forgotten once it is done; done twice, because
// the process was killed in between, it is found to be done.
func (a *App) FollowUp(ctx context.Context, log *slog.Logger) error {
	known := int64(-1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := a.cfg.Store.Changed()
		if n := a.cfg.Store.SequelsNoted(); n != known {
			known = n
			if err := a.followUp(ctx, log); err != nil && ctx.Err() == nil {
				log.Warn("what comes of some builds waits", "err", err)
			}
			continue // what came of builds meanwhile
		}
		select {
		case <-changed:
		case <-timer.C:
			known = -1 // what was left, and what other servers left
			timer.Reset(sequelPause)
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *App) followUp(ctx context.Context, log *slog.Logger) error {
	list, err := a.cfg.Store.Sequels(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range list {
		if ctx.Err() != nil {
			break
		}
		err := a.sequel(ctx, s)
		var over *ci.OverBudget
		switch {
		case errors.Is(err, ci.ErrNotFound):
			err = nil // the build or the project was deleted: nothing comes of it
		case errors.Is(err, ci.ErrInvalid), errors.As(err, &over):
			log.Warn("nothing comes of a build, which something should have", "build", s.Build, "kind", s.Kind, "project", s.Project, "err", err)
			err = nil // and would not, however often it is tried
		}
		if err == nil {
			err = a.cfg.Store.SequelDone(ctx, s.ID)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of build %s: %w", s.Kind, s.Build, err))
		}
	}
	return errors.Join(errs...)
}

func (a *App) sequel(ctx context.Context, s ci.Sequel) error {
	b, err := a.cfg.Engine.Build(ctx, s.Build)
	if err != nil {
		return err
	}
	switch s.Kind {
	case ci.SequelRetry:
		return a.tryAgain(ctx, b)
	case ci.SequelAfter:
		return a.buildAfter(ctx, b, s.Project)
	case ci.SequelSupersede:
		return a.supersede(ctx, b)
	}
	return nil
}

// autoRetryKey is the key of the build that tries another again by itself.
func autoRetryKey(id ci.BuildID) string { return "automatic retry of " + string(id) }

// tryAgain is what CodeBuild's autoRetryLimit does (codebuild.md 4.9). A definition
// that does not compile would not compile again.
func (a *App) tryAgain(ctx context.Context, b ci.Build) error {
	if b.Plan == nil || ci.Problems(b.Problems).Fatal() {
		return nil
	}
	r := again(b)
	r.Key, r.Initiator, r.Attempt = autoRetryKey(b.ID), b.Initiator, b.Attempt+1
	_, _, err := a.cfg.Engine.Enqueue(ctx, r)
	return err
}

// again is the request for the same build once more, at the same commit.
func again(b ci.Build) engine.Request {
	return engine.Request{
		Project: b.Project, Source: pinned(b), File: b.File, Inline: b.Inline, Batch: b.Batch, Variables: b.Variables, Runtime: b.Runtime,
		Limits: b.Limits, RetryOf: b.ID, After: b.After, Packaging: b.Packaging, Untrusted: b.Untrusted,
	}
}

// Variables that a build has which another project's brought about.
const (
	varUpstreamProject = "SLUICE_UPSTREAM_PROJECT"
	varUpstreamBuild   = "SLUICE_UPSTREAM_BUILD"
	varUpstreamPrefix  = "SLUICE_UPSTREAM_VAR_"
)

// buildAfter builds a project because another's build succeeded. It is told which
// that was, and the variables that it exported.
func (a *App) buildAfter(ctx context.Context, up ci.Build, project string) error {
	p, err := a.cfg.Store.Project(ctx, project)
	if err != nil {
		return err
	}
	if !slices.Contains(p.After, up.Project) {
		return nil // it was changed meanwhile
	}
	given := map[string]string{varUpstreamProject: up.Project, varUpstreamBuild: strconv.FormatInt(up.Number, 10)}
	for _, j := range up.Jobs {
		for _, v := range j.Exports {
			if !v.Secret() {
				given[varUpstreamPrefix+v.Name] = v.Value
			}
		}
	}
	s := Start{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		s.Variables = append(s.Variables, ci.Variable{Name: name, Value: given[name]})
	}
	vars, err := a.given(ctx, p, nil, nil)
	if err != nil {
		return err
	}
	r := s.request(p, ci.User{})
	r.Variables = mergeVariables(r.Variables, vars)
	r.Key, r.Initiator = "after "+string(up.ID), fmt.Sprintf("%s/%d", up.Project, up.Number)
	r.After = &ci.BuildRef{ID: up.ID, Project: up.Project, Number: up.Number}
	r.Untrusted = up.Untrusted // what it exported may be made to steer this one
	_, _, err = a.cfg.Engine.Enqueue(ctx, r)
	return err
}

// supersede ends the older builds of the build's branch.
func (a *App) supersede(ctx context.Context, b ci.Build) error {
	f := store.Filter{Project: b.Project, Status: []ci.Status{ci.Queued, ci.Running, ci.Waiting}, Limit: 1000}
	for {
		page, next, err := a.cfg.Store.Builds(ctx, f)
		if err != nil {
			return err
		}
		for _, old := range page {
			if old.Number < b.Number && sameBranch(old, b) {
				if _, err := a.cfg.Engine.Supersede(ctx, old.ID, b, b.Limits.Supersede == ci.SupersedeQueued); err != nil {
					return err
				}
			}
		}
		if f.Cursor = next; next == "" {
			return nil
		}
	}
}

// sameBranch says whether two builds are of the same branch of the same
// repository. Before its source was looked at, a build has only what was asked for.
func sameBranch(a, b ci.Build) bool {
	if a.Source.Type != b.Source.Type || a.Source.Location != b.Source.Location {
		return false
	}
	if a.Commit.Ref != "" && b.Commit.Ref != "" {
		return a.Commit.Ref == b.Commit.Ref
	}
	return a.Commit.Ref == "" && a.Source.Version == b.Source.Version
}
