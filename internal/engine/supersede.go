package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Supersede ends an older build because a newer one of its branch began. With
// waiting, only one none of whose jobs has begun; others stay as they are. A
// build that is done, or gone, stays as it is.
func (e *Engine) Supersede(ctx context.Context, id ci.BuildID, by ci.Build, waiting bool) (ended bool, err error) {
	b, err := e.build(id)
	if errors.Is(err, ci.ErrNotFound) {
		rec, _, err := e.cfg.Store.Load(ctx, id)
		if errors.Is(err, ci.ErrNotFound) || err == nil && rec.Status.Done() {
			return false, nil
		}
		if err == nil && e.cfg.Shared != nil {
			if waiting && begun(&rec) {
				return false, nil
			}
			return true, e.wish(ctx, id, fmt.Errorf("%w: %s", ci.ErrSuperseded, title(&by)))
		}
		return false, errors.Join(err, fmt.Errorf("build %s is not in this server's hands: %w", id, ci.ErrUnavailable))
	}
	b.mu.Lock()
	if b.rec.Status.Done() || b.rec.Cancel != "" || waiting && begun(&b.rec) {
		b.mu.Unlock()
		return false, nil
	}
	err = e.cancel(ctx, b, fmt.Errorf("%w: %s", ci.ErrSuperseded, title(&by)))
	b.mu.Unlock()
	if err != nil {
		return false, err
	}
	return true, e.advance(ctx, b)
}

// begun says whether a job of the build ever began.
func begun(b *ci.Build) bool {
	for i := range b.Jobs {
		if !b.Jobs[i].Started.IsZero() {
			return true
		}
	}
	return false
}
