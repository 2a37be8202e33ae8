package runner_test

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/runner"
)

// A runner that drains ends the job that it does, begins no other, and returns.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['wait here']}}\n")
	var r *runner.Runner
	w.made = func(made *runner.Runner) { r = made }
	p := w.process(t.Context(), 0, false)
	if _, err := p.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatal(err)
	}
	<-w.script.Reached("here")
	r.Drain()
	select {
	case err := <-p.done:
		t.Fatalf("the runner left its job: %v", err)
	default:
	}
	w.script.Release("here")
	if err := <-p.done; err != nil {
		t.Fatal(err)
	}
	if b, err := p.engine.Build(t.Context(), "b"); err != nil || b.Status != ci.Succeeded {
		t.Errorf("the build %s, %v", b.Status, err)
	}
}
