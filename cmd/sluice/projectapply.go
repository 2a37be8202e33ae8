package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

func newProjectApply() *cobra.Command {
	var r remote
	var file string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Create and change projects as a YAML file has them", Args: cobra.NoArgs,
		Long: `Apply creates the projects of a file that are not there, and replaces those that
differ. A file may hold many, one a document, with "---" between them. What a
project leaves out it does not have afterwards. Projects that the file does not
name stay as they are.

All that is wrong with the file is said at once, with line and column, before
anything is changed. With --dry-run it is only said what would change.`,
		Example: `  sluice project export > projects.yml
  sluice project apply -f projects.yml --dry-run
  cat app.yml | sluice project apply -f -`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("--file is missing: want a file of projects, or - for standard input")
			}
			name, content, err := readInput(cmd, file)
			if err != nil {
				return err
			}
			docs, err := readProjects(name, content)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			a := &applying{c: c, out: cmd.OutOrStdout(), file: name, dryRun: dryRun}
			return a.all(ctx, afterOthers(docs))
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the projects, or - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	r.register(cmd.Flags())
	return cmd
}

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, file string) (name string, content []byte, err error) {
	if file == "-" {
		content, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxProjectFile+1))
		return "standard input", content, err
	}
	if content, err = os.ReadFile(file); err != nil {
		return "", nil, usagef("--file: %w", err)
	}
	return file, content, nil
}

// afterOthers puts projects behind those of the file that they are built after.
func afterOthers(docs []projectDoc) []projectDoc {
	at := map[string]int{}
	for i, d := range docs {
		at[d.project.Name] = i
	}
	var out []projectDoc
	seen := make([]bool, len(docs))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, up := range docs[i].project.After {
			if k, ok := at[up]; ok {
				visit(k)
			}
		}
		out = append(out, docs[i])
	}
	for i := range docs {
		visit(i)
	}
	return out
}

// applying is one project apply.
type applying struct {
	c      *client.Client
	out    io.Writer
	file   string
	dryRun bool
}

// all applies each project. One that is refused does not keep back the others.
func (a *applying) all(ctx context.Context, docs []projectDoc) error {
	var wrong []error
	code := exitUsage
	for _, d := range docs {
		err := a.one(ctx, d)
		var e *client.Error
		switch {
		case err == nil:
		case errors.As(err, &e) && len(e.Fields) > 0:
			wrong = append(wrong, a.located(d, e)...)
		default:
			at := d.at[""]
			wrong = append(wrong, fmt.Errorf("%s:%d:%d: project %s: %w", a.file, at.line, at.col, d.project.Name, err))
			if e == nil || e.Status != 404 && e.Status != 422 && e.Status != 400 {
				code = exitFault
			}
		}
	}
	if len(wrong) > 0 {
		return &exitError{code: code, err: errors.Join(wrong...)}
	}
	return nil
}

// located says where in the file is what the server refused.
func (a *applying) located(d projectDoc, e *client.Error) (wrong []error) {
	for _, f := range e.Fields {
		path := strings.TrimPrefix(f.Field, "body.")
		at, ok := d.at[path]
		for near := path; !ok && near != ""; at, ok = d.at[near] {
			near = near[:max(strings.LastIndexAny(near, ".["), 0)]
		}
		wrong = append(wrong, fmt.Errorf("%s:%d:%d: %s: %s", a.file, at.line, at.col, path, f.Message))
	}
	return wrong
}

func (a *applying) one(ctx context.Context, d projectDoc) error {
	want, err := writeProject(d.project)
	if err != nil {
		return err
	}
	there, err := a.c.Project(ctx, d.project.Name)
	if client.IsNotFound(err) {
		if !a.dryRun {
			_, err = a.c.CreateProject(ctx, d.project)
		} else {
			err = nil
		}
		return a.say(err, "created", d.project.Name, "", string(want))
	}
	if err != nil {
		return err
	}
	has, err := writeProject(there)
	if err != nil {
		return err
	}
	if bytes.Equal(has, want) {
		return a.say(nil, "unchanged", d.project.Name, "", "")
	}
	if !a.dryRun {
		d.project.Revision = there.Revision
		_, err = a.c.UpdateProject(ctx, d.project)
	}
	return a.say(err, "updated", d.project.Name, string(has), string(want))
}

// say tells what was done, or would be.
func (a *applying) say(err error, what, name, has, want string) error {
	if err != nil {
		return err
	}
	if !a.dryRun {
		_, err = fmt.Fprintf(a.out, "%s project %s\n", what, name)
		return err
	}
	would := map[string]string{"created": "would create", "updated": "would update", "unchanged": "would not change"}[what]
	if _, err := fmt.Fprintf(a.out, "%s project %s\n", would, name); err != nil {
		return err
	}
	for _, line := range lineDiff(has, want) {
		if has == want {
			break
		}
		if _, err := fmt.Fprintln(a.out, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

func newProjectExport() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "export [NAME...]", Short: "Print projects as YAML, as project apply takes them",
		Long: `Export prints the projects that are named, or all that you see, one document
each. Applied again, they are as they were. Secrets are not in it: a variable
of a secret kind holds its name only.`,
		Example: "  sluice project export app\n  sluice project export > projects.yml",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			var all []client.Project
			var wrong []error
			for _, name := range args {
				p, err := c.Project(ctx, name)
				if err != nil {
					wrong = append(wrong, err)
				}
				all = append(all, p)
			}
			if len(args) == 0 {
				var err error
				if all, err = pages(math.MaxInt, func(p client.Paging) (client.Page[client.Project], error) { return c.Projects(ctx, "", p) }); err != nil {
					return err
				}
			}
			if len(wrong) > 0 {
				return errors.Join(wrong...)
			}
			for i, p := range all {
				out, err := writeProject(p)
				if err != nil {
					return err
				}
				if i > 0 {
					out = slices.Concat([]byte("---\n"), out)
				}
				if _, err := cmd.OutOrStdout().Write(out); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	r.register(cmd.Flags())
	return cmd
}
