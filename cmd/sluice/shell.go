package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/internal/ci"
)

func newShell() *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use:   "shell [ID]",
		Short: "Enter the sandbox of a build",
		Long: `Shell opens a shell in the sandbox of a build that runs, or of a failed one that
was kept with 'sluice run --keep', as its last command left it: working directory,
variables, files. ID is a build or a job, or the begin of either; without one it is
the newest.`,
		Example: `  sluice shell
  sluice shell --list
  sluice shell 01kab3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			env, err := surroundings()
			if err != nil {
				return err
			}
			if list {
				return listHeld(cmd, env)
			}
			return enter(cmd.Context(), env, strings.Join(args, ""))
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list the sandboxes that can be entered")
	return cmd
}

func listHeld(cmd *cobra.Command, env environment) error {
	all, err := newRegistry(env.home).all()
	if err != nil {
		return err
	}
	for _, h := range all {
		state := "running"
		if h.Kept {
			state = "kept, failed at " + h.Why
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s  %s  %s\n", h.Job, h.Since.Local().Format("2006-01-02 15:04"), h.Executor, h.Source, state); err != nil {
			return err
		}
	}
	return nil
}

// pick finds the sandbox that an ID means.
func (r *registry) pick(id string) (*held, error) {
	all, err := r.all()
	if err != nil {
		return nil, err
	}
	var found []held
	for _, h := range all {
		if string(h.Job) == id {
			return &h, nil
		}
		if strings.HasPrefix(string(h.Job), id) {
			found = append(found, h)
		}
	}
	switch {
	case len(found) == 0 && id == "":
		return nil, usagef("there is no sandbox to enter: none runs, and none was kept with 'sluice run --keep'")
	case len(found) == 0:
		return nil, usagef("no sandbox of %s is left; 'sluice shell --list' lists those that are", id)
	case len(found) > 1 && id != "":
		var names []string
		for _, h := range found {
			names = append(names, string(h.Job))
		}
		return nil, usagef("%s could be any of %s: say which", id, strings.Join(names, ", "))
	}
	return &found[0], nil
}

// errGone says that a sandbox ended since it was noted.
var errGone = errors.New("the sandbox is gone")

// reopen finds a sandbox again. One that is not there any more is not made anew.
func reopen(ctx context.Context, p *placer, h *held) (ci.Sandbox, error) {
	e, err := p.executor(h.Executor)
	if err != nil {
		return nil, err
	}
	s, err := e.Open(ctx, ci.Placement{Job: h.Job, Runtime: h.Runtime})
	if err != nil {
		return nil, err
	}
	if s.Fresh() {
		return nil, errors.Join(errGone, s.Close(ctx))
	}
	return s, nil
}

func enter(ctx context.Context, env environment, id string) error {
	if !env.terminal {
		return usagef("sluice shell needs a terminal")
	}
	r := newRegistry(env.home)
	h, err := r.pick(id)
	if err != nil {
		return err
	}
	s, err := reopen(ctx, newPlacer(env.home, warn), h)
	if errors.Is(err, errGone) {
		return errors.Join(fmt.Errorf("%s: %w: its processes were ended, or the machine was started anew", h.Job, errGone), r.forget(h.Job))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "sluice: in the sandbox of %s; leave it with 'exit'\n", h.Job)
	return openShell(ctx, s, ci.Terminal{Shell: h.Shell, User: h.User, Session: h.Session})
}

func newSweep() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "sweep [ID]",
		Short: "Remove sandboxes that were kept or left behind",
		Long: `Sweep removes what dead builds left behind: processes, sandboxes and containers.
With an ID it also removes the kept sandbox of that build or job, with --all every
kept one. Builds that run are never touched.`,
		Example: `  sluice sweep
  sluice sweep 01kab3
  sluice sweep --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sweep(cmd, strings.Join(args, ""), all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every sandbox that was kept")
	return cmd
}

func sweep(cmd *cobra.Command, id string, all bool) error {
	env, err := surroundings()
	if err != nil {
		return err
	}
	r := newRegistry(env.home)
	sandboxes, err := r.all()
	if err != nil {
		return err
	}
	removed := 0
	for _, h := range sandboxes {
		if !h.Kept || !all && (id == "" || !strings.HasPrefix(string(h.Job), id)) {
			continue
		}
		if err := r.forget(h.Job); err != nil {
			return err
		}
		removed++
	}
	if id != "" && removed == 0 {
		return usagef("no sandbox of %s was kept; 'sluice shell --list' lists those that were", id)
	}
	p := newPlacer(env.home, warn)
	if err := p.local().Sweep(cmd.Context(), r.owned); err != nil {
		return err
	}
	if err := sweepEngine(cmd.Context(), p, r.owned); err != nil {
		return err
	}
	r.tidyAll()
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d kept sandbox%s removed; nothing of dead builds is left\n", removed, when(removed != 1, "es"))
	return err
}

// sweepEngine removes containers, where this user ever had any.
func sweepEngine(ctx context.Context, p *placer, owned func(ci.JobID) bool) error {
	if _, err := os.Stat(filepath.Join(p.home, "docker")); err != nil {
		return nil //nolint:nilerr // no folder, no containers
	}
	d, err := p.docker()
	if err != nil {
		return err
	}
	if _, err := d.Probe(ctx); err != nil {
		return fmt.Errorf("containers could not be looked for: %w", err)
	}
	return d.Sweep(ctx, owned)
}
