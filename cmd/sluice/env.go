package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/environments"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/docker"
	"github.com/sluice-ci/sluice/internal/image"
)

func newEnv() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "env",
		Short: "The prepackaged build environments",
		Long: `Env lists, shows and builds the container images that come with Sluice. They stand
in for CodeBuild's curated images, and are built on this machine by its container
engine.`,
		Example: `  sluice env list
  sluice env build sluice/minimal`,
	}
	cmd.AddCommand(newEnvList(), newEnvShow(), newEnvBuild())
	return cmd
}

// engineOf is the container engine of this machine, if it answers.
func engineOf(ctx context.Context, env environment) (*docker.Executor, error) {
	d, err := newPlacer(env.home, warn).docker()
	if err != nil {
		return nil, err
	}
	if _, err := d.Probe(ctx); err != nil {
		return nil, fmt.Errorf("%w; environments are container images: start an engine, or set DOCKER_HOST", err)
	}
	return d, nil
}

// environmentState is an environment as env list tells it.
type environmentState struct {
	Name  string `json:"name"`
	About string `json:"about"`
	State string `json:"state"` // built, outdated, not built, unknown
	Size  int64  `json:"size,omitempty"`
	ID    string `json:"id,omitempty"`
}

func newEnvList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the environments, and which are built", Args: cobra.NoArgs,
		Example: "  sluice env list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			env, err := surroundings()
			if err != nil {
				return err
			}
			states, note, err := listEnvironments(cmd.Context(), env)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, states)
			}
			for _, s := range states {
				size := ""
				if s.Size > 0 {
					size = "  " + show.Bytes(s.Size)
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-18s %-10s %s%s\n", s.Name, s.State, s.About, size); err != nil {
					return err
				}
			}
			if note != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), note)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func listEnvironments(ctx context.Context, env environment) (states []environmentState, note string, err error) {
	d, err := engineOf(ctx, env)
	if err != nil {
		all, listErr := image.Environments(environments.Files)
		for _, e := range all {
			states = append(states, environmentState{Name: e.Name, About: e.About, State: "unknown"})
		}
		return states, "which are built is not known: " + err.Error(), listErr
	}
	all, err := image.List(ctx, d, environments.Files)
	for _, e := range all {
		s := environmentState{Name: e.Name, About: e.About, State: "not built", Size: e.Size, ID: e.ID}
		switch {
		case e.Stale:
			s.State = "outdated"
		case e.Built:
			s.State = "built"
		}
		states = append(states, s)
	}
	return states, "", err
}

func newEnvShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show what an environment holds", Args: cobra.ExactArgs(1),
		Example: "  sluice env show sluice/standard",
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := environmentNamed(args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: %s\n\nPackages (Debian):\n", e.Name, e.About)
			for _, p := range e.Packages {
				fmt.Fprintf(out, "  %s\n", p)
			}
			_, err = fmt.Fprintf(out, "\nruntimes.yml:\n%s", e.Runtimes)
			return err
		},
	}
}

func environmentNamed(name string) (image.Environment, error) {
	e, err := image.Find(environments.Files, name)
	if errors.Is(err, ci.ErrNotFound) {
		return e, &exitError{code: exitUsage, err: err}
	}
	return e, err
}

func newEnvBuild() *cobra.Command {
	return &cobra.Command{
		Use:   "build [NAME...]",
		Short: "Build environments",
		Long:  "Build makes the container images of the environments, of all of them without a NAME.",
		Example: `  sluice env build
  sluice env build sluice/minimal`,
		RunE: func(cmd *cobra.Command, args []string) error {
			env, err := surroundings()
			if err != nil {
				return err
			}
			var all []image.Environment
			for _, name := range args {
				e, err := environmentNamed(name)
				if err != nil {
					return err
				}
				all = append(all, e)
			}
			if len(args) == 0 {
				if all, err = image.Environments(environments.Files); err != nil {
					return err
				}
			}
			d, err := engineOf(cmd.Context(), env)
			if err != nil {
				return err
			}
			b := &image.Builder{Engine: d, Host: image.ThisHost(), Run: hostProgram, Log: cmd.ErrOrStderr()}
			for _, e := range all {
				info, err := b.Build(cmd.Context(), e)
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s built: %s, %s\n", e.Name, info.ID, show.Bytes(info.Size)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// hostProgram runs a program of this machine.
func hostProgram(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = stdout, stderr, os.Environ()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}
