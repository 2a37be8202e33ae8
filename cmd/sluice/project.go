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
	cmd.AddCommand(newProjectCreate(), newProjectList(), newProjectShow(), newProjectRetention(), newProjectDelete())
	return cmd
}

// projectFlags are those of project create.
type projectFlags struct {
	source, file, image, executor, isolation, size string
	description                                    string
	env                                            []string
	builds                                         int
	batch, private                                 bool
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
			p, err := f.project(args[0])
			if err != nil {
				return err
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
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.source, "source", "", "`PATH` of a directory on the server's machine, or URL of a git repository, or upload: builds are of what 'sluice run --remote' sends")
	fs.StringVarP(&f.file, "file", "f", "", "`PATH` of the definition in the source (default: the first found of "+strings.Join(definitionNames(), ", ")+")")
	fs.StringVarP(&f.image, "image", "i", "", "container `IMAGE` to build in")
	fs.StringVarP(&f.executor, "executor", "x", "", "where to build: local or docker (default: docker when an image is named and an engine answers)")
	fs.StringVar(&f.isolation, "isolation", "", "of the local executor: none, sandbox or gvisor (default sandbox)")
	fs.StringVar(&f.size, "size", "", "CodeBuild compute `TYPE`, such as BUILD_GENERAL1_SMALL: limits CPUs and memory, and is what the build waits for when the machine is full")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "set a variable for all builds: `NAME=VALUE` (repeatable)")
	fs.IntVar(&f.builds, "builds", 0, "builds of the project at once, at most; the others wait (0 = as many as there is room for)")
	fs.BoolVar(&f.batch, "batch", false, "builds run the batch section")
	fs.BoolVar(&f.private, "private", false, "only those who were given a role in it see it")
	fs.StringVar(&f.description, "description", "", "what it is")
	fs.BoolVar(&asJSON, "json", false, "print the project as JSON")
	r.register(fs)
	return cmd
}

// project is what the flags come to. All that is wrong comes back at once.
func (f *projectFlags) project(name string) (client.Project, error) {
	var wrong []error
	p := client.Project{
		Name: name, Description: f.description, File: f.file, Batch: f.batch, Private: f.private,
		Runtime: client.Runtime{Image: f.image, Executor: f.executor, Isolation: f.isolation, Size: f.size},
		Limits:  client.Limits{Builds: f.builds},
	}
	if err := ci.CheckProjectName(name); err != nil {
		wrong = append(wrong, errors.New(ci.Message(err)))
	}
	if f.source == "" {
		wrong = append(wrong, errors.New("--source is missing: want the path of a directory, or the URL of a git repository"))
	}
	p.Source = sourceNamed(f.source)
	for err := range checks(
		oneOf("executor", f.executor, "", "local", "docker"),
		oneOf("isolation", f.isolation, "", "none", "sandbox", "gvisor"),
	) {
		wrong = append(wrong, err)
	}
	if _, _, err := computeSize(ci.Runtime{Size: f.size}); err != nil {
		wrong = append(wrong, errors.New(ci.Message(err)))
	}
	vars, err := variablesNamed(f.env)
	if err != nil {
		wrong = append(wrong, err)
	}
	p.Variables = vars
	if len(wrong) > 0 {
		return p, &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return p, nil
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
