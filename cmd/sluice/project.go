package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func newProject() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "project",
		Short: "The projects of a server",
		Long: `A project is what builds are started from: a source, the definition in it, and
where its jobs run. The server is the one that SLUICE_URL names; SLUICE_TOKEN
holds the token.`,
		Example: `  sluice project create app --source https://git.example.com/app.git
  sluice project list`,
	}
	cmd.AddCommand(newProjectCreate(), newProjectList(), newProjectShow(), newProjectUpdate(), newProjectApply(), newProjectExport(), newProjectRetention(), newProjectDelete())
	return cmd
}

func newProjectCreate() *cobra.Command {
	var r remote
	var f projectFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "create NAME --source PATH|URL", Short: "Create a project", Args: cobra.ExactArgs(1),
		Example: `  sluice project create app --source https://git.example.com/app.git --image golang:1.26
  sluice project create site --source . --file ci/buildspec.yml --executor local`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			p := client.Project{Name: args[0]}
			err := f.onto(&p, cmd.Flags().Changed)
			if bad := ci.CheckProjectName(p.Name); bad != nil {
				err = errors.Join(errors.New(ci.Message(bad)), err)
			}
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			if p, err = c.CreateProject(ctx, p); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, p)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "created project %s; start a build with 'sluice build start %s --follow'\n", p.Name, p.Name)
			return err
		}),
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the project as JSON")
	r.register(cmd.Flags())
	return cmd
}

// checks gives the errors among its arguments.
func checks(all ...error) func(func(error) bool) {
	return func(yield func(error) bool) {
		for _, err := range all {
			if err != nil && !yield(err) {
				return
			}
		}
	}
}

// sourceNamed tells a directory from a repository.
func sourceNamed(text string) client.Source {
	if text == "upload" { // a directory of that name is ./upload
		return client.Source{Type: "upload"}
	}
	if isRemote(text) {
		return client.Source{Type: "git", Location: text}
	}
	if abs, err := filepath.Abs(text); err == nil {
		text = abs
	}
	return client.Source{Type: "directory", Location: text}
}

// variablesNamed reads NAME=VALUE, or NAME for the value that it has here.
func variablesNamed(texts []string) ([]client.Variable, error) {
	var wrong []error
	var vars []client.Variable
	for _, text := range texts {
		v, err := parseVariable(text, os.LookupEnv)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--env %w", err))
			continue
		}
		vars = append(vars, client.Variable{Name: v.Name, Value: v.Value, Kind: string(v.Kind)})
	}
	return vars, errors.Join(wrong...)
}

func newProjectList() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list [PREFIX]", Aliases: []string{"ls"}, Short: "List the projects", Args: cobra.MaximumNArgs(1),
		Example: "  sluice project list\n  sluice project list web- --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			all, err := pages(math.MaxInt, func(p client.Paging) (client.Page[client.Project], error) {
				return c.Projects(ctx, strings.Join(args, ""), p)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no projects; make one with 'sluice project create NAME --source PATH|URL'")
				return nil
			}
			rows := [][]string{{"NAME", "SOURCE", "CHANGED", "DESCRIPTION", "+FILE", "+IMAGE", "+EXECUTOR", "+SIZE", "+PRIVATE", "+RETENTION"}}
			for _, p := range all {
				rows = append(rows, []string{p.Name, p.Source.Location, age(p.Updated), p.Description, p.File, p.Runtime.Image, p.Runtime.Executor, p.Runtime.Size, strconv.FormatBool(p.Private), ci.Retention(p.Retention).String()})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(cmd.Flags())
	return cmd
}

func newProjectShow() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a project as JSON", Args: cobra.ExactArgs(1),
		Example: "  sluice project show app",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			p, err := c.Project(ctx, args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd, p)
		}),
	}
	r.register(cmd.Flags())
	return cmd
}

func newProjectDelete() *cobra.Command {
	var r remote
	var force bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a project with all its builds", Args: cobra.ExactArgs(1),
		Long: `Delete removes a project, its builds, their logs and artifacts. While builds of it
run this is refused, unless --force stops them first.`,
		Example: "  sluice project delete app",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			p, err := c.Project(ctx, args[0])
			if err == nil {
				err = c.DeleteProject(ctx, p.Name, p.Revision, force)
			}
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted project %s\n", p.Name)
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "stop the builds that run")
	r.register(cmd.Flags())
	return cmd
}
