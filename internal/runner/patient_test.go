package runner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/runner"
)

// tired is a store that is away for the first tries of each write of a runner.
type tired struct {
	engine.Store
	mu    sync.Mutex
	tries map[string]int
	away  int
}

func (s *tired) Append(ctx context.Context, events ...ci.Event) error {
	key := fmt.Sprint(events[0].Build, events[0].Seq)
	s.mu.Lock()
	s.tries[key]++
	n := s.tries[key]
	s.mu.Unlock()
	if n <= s.away && events[0].Type != ci.EventBuildStarted {
		return fmt.Errorf("the disk is full: %w", ci.ErrUnavailable)
	}
	return s.Store.Append(ctx, events...)
}

// A build goes on while its store is away, and its record is whole in the end.
func TestABuildOutlastsAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases:\n  build:\n    commands: [echo one, echo two]\n")
	w.config = func(c *runner.Config) {
		c.Desk = runner.Patient(c.Desk, time.Millisecond, slog.New(slog.DiscardHandler))
	}
	w.wrap = func(s engine.Store) engine.Store { return &tired{Store: s, tries: map[string]int{}, away: 2} }
	b, _ := w.run()
	if b.Status != ci.Succeeded {
		t.Errorf("got %s: %s", b.Status, b.Reason)
	}
	commands := 0
	for _, s := range b.Jobs[0].Steps {
		if s.Kind == ci.KindCommand {
			commands++
		}
	}
	if commands != 2 {
		t.Errorf("got %d commands in the record, want 2", commands)
	}
}

// A desk that refuses is not asked again; one job's refusal is not the runner's end.
func TestARefusalIsOneJobsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases:\n  build:\n    commands: [echo one]\n")
	told := make(chan error, 1)
	w.config = func(c *runner.Config) {
		c.Desk = runner.Patient(refuser{c.Desk}, time.Millisecond, slog.New(slog.DiscardHandler))
		c.Fault = func(_ ci.JobID, err error) { told <- err }
	}
	p := w.process(t.Context(), 0, false)
	if _, err := p.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatal(err)
	}
	if err := <-told; !errors.Is(err, ci.ErrConflict) {
		t.Errorf("got %v", err)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Errorf("the runner ended with %v", err)
	}
}

type refuser struct{ runner.Desk }

func (refuser) JobFinished(context.Context, ci.JobRun) error {
	return fmt.Errorf("another has the job: %w", ci.ErrConflict)
}
