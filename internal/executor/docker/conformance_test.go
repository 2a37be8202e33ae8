package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
)

// clientState is how another process makes the same executor.
type clientState struct {
	Config Config
	Image  string
}

// playClient is the process that the suite kills.
func playClient(state string) (ci.Executor, func(ci.JobID) ci.Placement, error) {
	var s clientState
	if err := json.NewDecoder(bytes.NewReader([]byte(state))).Decode(&s); err != nil {
		return nil, nil, err
	}
	e, err := New(s.Config)
	return e, s.placement, err
}

func (s clientState) placement(job ci.JobID) ci.Placement {
	return ci.Placement{Job: job, Runtime: ci.Runtime{Image: s.Image, Network: "none"}}
}

// TestConformance holds the executor to the contract on every engine, and with
// both ways of getting files in.
func TestConformance(t *testing.T) {
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		state := clientState{Config: e.cfg, Image: busybox(t, e)}
		text, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		executortest.Run(t, executortest.Suite{
			Open: func(t testing.TB) ci.Executor {
				other, err := New(e.cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = other.api.Close() })
				return other
			},
			Placement: state.placement,
			Kill: func(t testing.TB, _ ci.JobID, box ci.Sandbox) {
				_, err := e.api.ContainerKill(t.Context(), box.(*Sandbox).id, client.ContainerKillOptions{Signal: "KILL"})
				if err != nil && !errors.Is(err, ci.ErrUnavailable) {
					t.Fatal(err)
				}
			},
			State:    string(text),
			Features: executortest.Features{User: "user", Memory: true, Processes: true, Usage: true, Leaves: true, Why: "the test image has busybox's sh alone"},
		})
	})
}
