package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/executor/local"
	"github.com/sluice-ci/sluice/internal/frontend/buildspec"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/runner"
	"github.com/sluice-ci/sluice/internal/source"
	"github.com/sluice-ci/sluice/internal/store"
)

const builds = 200

// manyBuilds measures 200 builds of `true` through one engine and one runner in
// this process, as a server would do them: two at a time, and all at once.
func (b *bench) manyBuilds(ctx context.Context) error {
	dir, err := b.project("many", "version: 0.2\nphases:\n  build:\n    commands: [\"true\"]\n")
	if err != nil {
		return err
	}
	if _, err := b.timed(ctx, dir, b.sluice, "run", "--executor", "local", "--cache", "none", "--quiet"); err != nil {
		return err
	}
	begin := time.Now()
	for range builds {
		if _, err := b.timed(ctx, dir, "sh", "-c", "true"); err != nil {
			return err
		}
	}
	floor := builds / time.Since(begin).Seconds()
	for _, c := range []struct {
		isolation string
		slots     int
		budget    float64
	}{{local.Plain, 2, 0}, {local.Plain, builds, 0}, {local.Sandboxed, 2, 0}} {
		rate, err := b.rate(ctx, dir, c.isolation, c.slots)
		if err != nil {
			return err
		}
		b.add(row{
			what: fmt.Sprintf("200 builds of true, %d at a time, isolation %s", c.slots, c.isolation),
			got:  fmt.Sprintf("%.0f/s", rate), floor: fmt.Sprintf("%.0f/s sh -c true, serial", floor), ratio: rate / floor,
			budget: "reported", ok: true,
		})
	}
	return nil
}

// agent is the program for sandboxes that the measured sluice carries, which it
// wrote into its state folder at its first build.
func (b *bench) agent() string {
	if found, err := filepath.Glob(filepath.Join(b.dir, "home", "agent-*")); err == nil && len(found) == 1 {
		return found[0]
	}
	return b.sluice
}

func (b *bench) rate(ctx context.Context, dir, isolation string, slots int) (float64, error) {
	state, err := os.MkdirTemp(b.dir, "many-")
	if err != nil {
		return 0, err
	}
	journal, err := store.OpenJournal(filepath.Join(state, "journal"), false)
	if err != nil {
		return 0, err
	}
	defer journal.Close()
	kept, err := logs.Open(filepath.Join(state, "logs"), logs.Options{})
	if err != nil {
		return 0, err
	}
	fetcher := source.New(source.Options{Exclude: []string{filepath.Join(dir, ".sluice")}})
	executor := local.New(local.Config{Root: filepath.Join(state, "sandboxes"), Exe: b.agent()})
	e := engine.New(engine.Config{Store: journal, Fronts: []ci.FrontEnd{buildspec.New()}, Fetcher: fetcher})
	r := runner.New(runner.Config{
		Slots: slots, Desk: e, Fetcher: fetcher, Logs: kept,
		Place: func(_ context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error) {
			r.Isolation = isolation
			return executor, r, nil
		},
		Output: func(id ci.JobID) string { return filepath.Join(state, "out", string(id.Build())) },
	})
	working, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- r.Run(working) }()
	begin := time.Now()
	ids := make([]ci.BuildID, builds)
	for i := range ids {
		ids[i], err = e.Start(ctx, engine.Request{Project: "many", Source: ci.Source{Type: "directory", Location: dir}})
		if err != nil {
			stop()
			return 0, errors.Join(err, <-done)
		}
	}
	for _, id := range ids {
		if err = e.Follow(ctx, id, 1, func(ci.Event) bool { return true }); err != nil {
			break
		}
		rec, lerr := e.Build(ctx, id)
		if lerr != nil || rec.Status != ci.Succeeded {
			err = fmt.Errorf("build %s is %s: %s: %w", id, rec.Status, rec.Reason, lerr)
			break
		}
	}
	took := time.Since(begin)
	stop()
	return builds / took.Seconds(), errors.Join(err, <-done)
}
