package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Retry says what of a build is done again. The zero value: all of it.
type Retry struct {
	Failed bool   // the jobs that did not succeed
	From   string // this job and those that need it, and what did not succeed
}

// RetryBuild starts a new build of the commit that an earlier one built, with its
// parameters. One that still runs is ci.ErrConflict. key is as in Start.
func (a *App) RetryBuild(ctx context.Context, project string, number int64, key string, what Retry) (b BuildInfo, made bool, err error) {
	id, u, err := a.find(ctx, retryBuild, project, number)
	if err != nil {
		return BuildInfo{}, false, err
	}
	in := &Invalid{}
	if in.text("key", key, maxTagValue); in.err() != nil {
		return BuildInfo{}, false, in
	}
	old, err := a.cfg.Engine.Build(ctx, id)
	if err != nil {
		return BuildInfo{}, false, err
	}
	if !old.Status.Done() {
		return BuildInfo{}, false, fmt.Errorf("build %s/%d is %s: wait for its end, or stop it, before it is done again: %w", project, number, old.Status, ci.ErrConflict)
	}
	r := again(old)
	if r.Redo, err = what.jobs(old); err != nil {
		return BuildInfo{}, false, err
	}
	r.Key, r.Initiator = keyOf(fmt.Sprintf("retry %s%s", old.ID, what), key), u.Name
	ctx = a.noting(ctx, u, retryBuild, project, fmt.Sprintf(", of %d%s", number, what))
	rec, made, err := a.cfg.Engine.Enqueue(ctx, r)
	if err != nil {
		return BuildInfo{}, false, err
	}
	if made {
		err = a.changed(ctx, u, retryBuild, project, rec.ID, fmt.Sprintf("build %d, of %d%s", rec.Number, number, what))
	}
	return BuildInfo{Build: rec, Waits: a.waits(ctx, rec.ID)}, made, err
}

func (r Retry) String() string {
	switch {
	case r.From != "":
		return " from " + r.From
	case r.Failed:
		return " failed jobs"
	}
	return ""
}

// jobs are the jobs of a build to do again; nil = all.
func (r Retry) jobs(old ci.Build) ([]string, error) {
	in := &Invalid{}
	switch {
	case !r.Failed && r.From == "":
		return nil, nil
	case r.Failed && r.From != "":
		in.add("from", "goes with failed: it does those again as well; leave failed out")
		return nil, in
	case strings.Contains(r.From, "/"):
		in.add("from", "a job runs in a new sandbox, and so from its first phase on: name the job alone, %q", strings.SplitN(r.From, "/", 2)[0])
		return nil, in
	}
	name := fmt.Sprintf("%s/%d", old.Project, old.Number)
	if old.Plan == nil {
		return nil, fmt.Errorf("build %s has no jobs: retry all of it: %w", name, ci.ErrConflict)
	}
	if old.Source.Type == "directory" {
		return nil, fmt.Errorf("build %s is of a directory, which may have changed since: retry all of it: %w", name, ci.ErrConflict)
	}
	var redo, known []string
	ended := map[string]ci.Status{}
	for _, j := range old.Jobs {
		ended[j.Name] = j.Status // the last attempt counts
	}
	for _, j := range old.Plan.Jobs {
		if known = append(known, j.Name); j.Name == r.From || !ended[j.Name].OK() {
			redo = append(redo, j.Name)
		}
	}
	if _, ok := ended[r.From]; r.From != "" && !ok {
		in.add("from", "build %s has no job %q: want one of %s", name, r.From, strings.Join(known, ", "))
		return nil, in
	}
	if len(redo) == 0 {
		return nil, fmt.Errorf("all jobs of build %s succeeded: there is none to do again: %w", name, ci.ErrConflict)
	}
	return redo, nil
}
