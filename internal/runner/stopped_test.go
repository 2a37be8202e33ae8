package runner_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/runner"
)

// lateSecret is one that, when held, is found no sooner than the job is to stop.
type lateSecret struct{ held *atomic.Bool }

func (s lateSecret) Lookup(ctx context.Context, _ ci.VariableKind, _ string) (string, error) {
	if s.held.Load() {
		<-ctx.Done()
	}
	return "a secret", nil
}

// A build is asked to stop, and its process is killed before the runner hears of
// it. The next process finds phases that are done, and a reason to stop before it
// comes to the one that is not: it has canceled the build, and not brought it to a
// good end.
func TestStoppedWhileNobodyRan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "env: {parameter-store: {S: /s}}\nphases: {install: {commands: ['true']}, build: {commands: ['wait here']}}\nartifacts: {files: ['**/*']}\n")
	held := &atomic.Bool{}
	w.secret = lateSecret{held}
	first := w.process(t.Context(), 0, false)
	if _, err := first.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatal(err)
	}
	<-w.script.Reached("here")
	first.stop()
	if err := <-first.done; err != nil {
		t.Fatal(err)
	}
	held.Store(true)
	store := w.open(t.Context())
	b, _, err := store.Load(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	b.Cancel, b.Jobs, b.Plan = ci.ErrCanceled.Error(), nil, nil
	if err := store.Append(t.Context(), ci.NewEvent(ci.EventCancel, b)); err != nil {
		t.Fatal(err)
	}
	got := w.wait(w.process(t.Context(), 0, false))
	if got.Status != ci.Canceled || got.Jobs[0].Status != ci.Canceled || got.Reason == "" {
		t.Errorf("got %s (%q), its job %s; want canceled", got.Status, got.Reason, got.Jobs[0].Status)
	}
	if strings.Contains(phases(got), "UPLOAD") {
		t.Errorf("got phases\n%s", phases(got))
	}
	if left := w.script.Jobs(); len(left) != 0 {
		t.Errorf("sandboxes left behind: %v", left)
	}
}

// stoppedAtOnce is a desk whose jobs that began before are to stop before anything is done.
type stoppedAtOnce struct{ runner.Desk }

func (d stoppedAtOnce) Claim(ctx context.Context, info ci.RunnerInfo) (*ci.Assignment, error) {
	a, err := d.Desk.Claim(ctx, info)
	if err == nil && a.Began {
		a.Timeout = -time.Since(a.Run.Started) // it has been over for as long as the job ran
	}
	return a, err
}

// A job that is to stop before the next process has found its sandbox leaves none.
func TestStoppedBeforeItsSandboxIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['wait here']}}\n")
	w.config = func(c *runner.Config) { c.Desk = stoppedAtOnce{c.Desk} }
	first := w.process(t.Context(), 0, false)
	if _, err := first.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatal(err)
	}
	<-w.script.Reached("here")
	first.stop()
	if err := <-first.done; err != nil {
		t.Fatal(err)
	}
	if got := w.wait(w.process(t.Context(), 0, false)); got.Status != ci.TimedOut {
		t.Errorf("got %s (%q), want timed_out", got.Status, got.Reason)
	}
	if left := w.script.Jobs(); len(left) != 0 {
		t.Errorf("sandboxes left behind: %v", left)
	}
}
