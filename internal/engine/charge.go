package engine

import (
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// charge meters a job that ends: from when a runner took it to its end. What the
// runner says of where it ran counts before what was asked for. Nil = it held
// nothing. Under b.mu.
func (e *Engine) charge(b *build, began *ci.JobRun, ended ci.JobRun) *ci.Charge {
	if began.Started.IsZero() {
		return nil
	}
	asked := merge(planned(&b.rec, began.Name).Runtime, b.rec.Runtime)
	c := ci.Charge{Executor: ended.Environment.Executor, Type: asked.Type, Size: ended.Environment.Size}
	if c.Executor == "" {
		c.Executor = asked.Executor
	}
	if c.Size == "" {
		c.Size = asked.Size
	}
	var rate ci.Rate
	switch {
	case e.cfg.Rate != nil:
		rate = e.cfg.Rate(c.Executor, c.Type, c.Size)
	case ci.BySecond(c.Type, c.Size):
		rate.Unit = time.Second
	}
	c = c.Meter(ended.Ended.Sub(began.Started), rate)
	return &c
}
