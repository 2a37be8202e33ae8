package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// LineFollow hands on lines as they come, each with the After that goes on behind
// it, until the build is done, take fails or ctx ends.
type LineFollow func(ctx context.Context, take func(l LogLine, after string) error) error

// FollowLines finds the lines of a build's output and goes on until it is done,
// step after step and job after job, in the order in which they were queued. To,
// Until, Count and Limit are for pages only.
func (a *App) FollowLines(ctx context.Context, project string, number int64, q LineQuery) (LineFollow, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.To > 0 || !q.Until.IsZero() || q.Count || q.Limit > 0 {
		return nil, &Invalid{Query: true, Fields: []Field{{"follow", "has no end of its own: leave to, until, count and limit out, or read pages"}}}
	}
	if err := a.removed(ctx, b.ID, ci.PartLogs, project, number); err != nil {
		return nil, err
	}
	steps, err := q.chosen(&b, project)
	if err != nil {
		return nil, err
	}
	from, err := a.beginLines(ctx, b.ID, steps, q)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, take func(LogLine, string) error) error {
		watched, undo := a.watch(ctx, b.ID)
		defer undo()
		walk := newLineWalk(a, q, func(l LogLine, at linesAt) error { return take(l, at.cursor()) })
		if err := walk.follow(ctx, watched, from); err != nil && !errors.Is(err, errAllFollowed) {
			return fmt.Errorf("lines of build %s/%d: %w", project, number, err)
		}
		return nil
	}, nil
}

// follow goes through steps as they begin, from a place on.
func (w *lineWalk) follow(ctx context.Context, watched *watched, at linesAt) error {
	for i := 0; ; i++ {
		var job ci.JobID
		err := watched.until(ctx, func(b *ci.Build) bool {
			if i < len(b.Jobs) {
				job = b.Jobs[i].ID
			}
			return job != "" || b.Status.Done()
		})
		if err != nil || job == "" {
			return err
		}
		if w.q.Job != "" && jobName(job) != w.q.Job || at.step != "" && at.step.Job() != job {
			continue
		}
		if err := w.followJob(ctx, watched, job, &at); err != nil {
			return err
		}
	}
}

// followJob goes through the steps of one job; at is where to begin, until that
// was found.
func (w *lineWalk) followJob(ctx context.Context, watched *watched, job ci.JobID, at *linesAt) error {
	for k := 0; ; k++ {
		var s ci.StepRun
		err := watched.until(ctx, func(b *ci.Build) bool {
			j := b.Job(job)
			if k < len(j.Steps) {
				s = j.Steps[k]
			}
			return s.ID != "" || j.Status.Done()
		})
		if err != nil || s.ID == "" {
			return err
		}
		if at.step != "" && at.step != s.ID || !w.q.chooses(&s) {
			continue
		}
		from := linesAt{step: s.ID}
		if at.step == s.ID {
			from, *at = *at, linesAt{}
		}
		if err := w.followStep(ctx, watched, &s, from); err != nil {
			return err
		}
		if w.q.Step != "" {
			return errAllFollowed
		}
	}
}

// errAllFollowed ends the following of one step.
var errAllFollowed = errors.New("the step is over")

func (w *lineWalk) followStep(ctx context.Context, watched *watched, s *ci.StepRun, from linesAt) error {
	from, err := w.start(ctx, s, from)
	if err != nil {
		return err
	}
	r, err := w.a.live(ctx, watched, s.ID, from.place.Offset)
	if err != nil {
		return err
	}
	_, err = w.step(ctx, s, r, from, true)
	return errors.Join(err, r.Close())
}
