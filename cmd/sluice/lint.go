package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/frontend/buildspec"
	"github.com/sluice-ci/sluice/internal/source"
)

// definition is a file to compile, with the tree that it may look into.
type definition struct {
	shown string // as the user wrote it, for messages
	name  string // its slash path in the tree
	root  string // the tree
	front ci.FrontEnd
	text  []byte
}

// find reads a definition: the file, or the first that a build of the directory
// would take.
func find(arg string) (*definition, error) {
	if arg == "" {
		arg = "."
	}
	info, err := os.Stat(arg)
	if err != nil {
		return nil, usagef("%w", err)
	}
	if !info.IsDir() {
		return open(arg)
	}
	var looked []string
	for _, f := range frontEnds() {
		for _, name := range f.Files() {
			file := filepath.Join(arg, name)
			if info, err := os.Stat(file); err == nil && !info.IsDir() {
				return open(file)
			}
			looked = append(looked, name)
		}
	}
	return nil, usagef("no definition in %s: looked for %s; name the file", arg, strings.Join(looked, ", "))
}

func open(file string) (*definition, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	d := &definition{shown: filepath.ToSlash(file), text: text}
	// The source that the definition belongs to is where the user stands, if the
	// file is below; paths in batch builds are relative to it.
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	d.root, d.name = filepath.Dir(abs), filepath.Base(abs)
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, abs); err == nil && filepath.IsLocal(rel) {
			d.root, d.name = here, filepath.ToSlash(rel)
		}
	}
	d.front = frontFor(path.Base(d.name))
	return d, nil
}

// frontFor is the front end that answers to a file's name, else the first.
func frontFor(base string) ci.FrontEnd {
	fronts := frontEnds()
	for _, f := range fronts {
		if slices.Contains(f.Files(), base) {
			return f
		}
	}
	return fronts[0]
}

func (d *definition) compilable(batch bool) ci.Definition {
	return ci.Definition{Path: d.shown, Text: d.text, Batch: batch, Read: d.read}
}

// read reads another file of the same tree, never one outside of it.
func (d *definition) read(name string) ([]byte, error) {
	tree := ci.Source{Type: source.TypeDirectory, Location: d.root}
	return source.New(source.Options{}).ReadFile(context.Background(), tree, ci.Commit{}, name)
}

// lint says all that is wrong with the definition.
func (d *definition) lint() ci.Problems {
	if d.front.Name() == "buildspec" {
		return buildspec.Lint(d.compilable(false))
	}
	plan, err := d.front.Compile(d.compilable(false))
	var problems ci.Problems
	if errors.As(err, &problems) {
		return problems
	}
	if plan != nil {
		return plan.Warnings
	}
	return nil
}

func newLint() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lint [FILE | DIR]...",
		Short: "Check definitions without running them",
		Long: `Lint says everything that is wrong or doubtful with a definition, one problem a
line as file:line:col: error|warning: message. Without a FILE it checks the one
that 'sluice run' would take. The exit code is 1 when there is an error.`,
		Example: `  sluice lint
  sluice lint ci/*.yml
  sluice lint --json | jq -r '.[].message'`,
		RunE: func(cmd *cobra.Command, args []string) error { return lint(cmd, args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the problems as a JSON array")
	return cmd
}

func lint(cmd *cobra.Command, args []string, asJSON bool) error {
	if len(args) == 0 {
		args = []string{"."}
	}
	problems := ci.Problems{}
	for _, arg := range args {
		d, err := find(arg)
		if err != nil {
			return err
		}
		problems = append(problems, d.lint()...)
	}
	out := cmd.OutOrStdout()
	if asJSON {
		if err := writeJSON(cmd, problems); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			if _, err := fmt.Fprintln(out, p); err != nil {
				return err
			}
		}
	}
	if problems.Fatal() {
		return said(exitFailed)
	}
	return nil
}

// writeJSON prints a value for people and programs alike.
func writeJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
