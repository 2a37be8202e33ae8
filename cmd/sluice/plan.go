package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/internal/ci"
)

func newPlan() *cobra.Command {
	var asJSON, batch bool
	var env []string
	cmd := &cobra.Command{
		Use:   "plan [FILE | DIR]",
		Short: "Show what a build would do",
		Long: `Plan compiles a definition and shows its jobs, phases and commands as a tree, or
as JSON. Nothing is run. The exit code is 2 when the definition does not compile.`,
		Example: `  sluice plan
  sluice plan --batch
  sluice plan --json ci/buildspec.yml | jq '.jobs[].name'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return plan(cmd, strings.Join(args, ""), asJSON, batch, env)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the compiled plan as JSON")
	cmd.Flags().BoolVar(&batch, "batch", false, "plan the batch section")
	cmd.Flags().StringArrayVarP(&env, "env", "e", nil, "a variable that the build would be started with: `NAME=VALUE` (repeatable)")
	return cmd
}

func plan(cmd *cobra.Command, arg string, asJSON, batch bool, env []string) error {
	d, err := find(arg)
	if err != nil {
		return err
	}
	def := d.compilable(batch)
	def.Parameters = map[string]string{}
	for _, text := range env {
		v, err := parseVariable(text, os.LookupEnv)
		if err != nil {
			return usagef("--env %w", err)
		}
		def.Parameters[v.Name] = v.Value
	}
	p, err := d.front.Compile(def)
	var problems ci.Problems
	if errors.As(err, &problems) {
		for _, problem := range problems {
			fmt.Fprintln(cmd.ErrOrStderr(), problem)
		}
		return said(exitUsage)
	}
	if err != nil {
		return err
	}
	for _, warning := range p.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), warning)
	}
	if asJSON {
		return writeJSON(cmd, p)
	}
	t := &tree{w: cmd.OutOrStdout()}
	t.plan(p)
	return t.err
}

// tree prints a plan for people.
type tree struct {
	w   io.Writer
	err error
}

func (t *tree) line(depth int, format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, strings.Repeat("  ", depth)+format+"\n", args...)
	}
}

func (t *tree) plan(p *ci.Plan) {
	t.line(0, "%s (%s): %d job%s%s", p.File, p.Format, len(p.Jobs), plurals(len(p.Jobs)), when(p.FailFast, ", the first failure stops the rest"))
	for i := range p.Jobs {
		t.job(&p.Jobs[i])
	}
}

func plurals(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func when(cond bool, text string) string {
	if cond {
		return text
	}
	return ""
}

func (t *tree) job(j *ci.Job) {
	t.line(0, "job %s%s%s%s", j.Name, when(len(j.Needs) > 0, ", after "+strings.Join(j.Needs, ", ")),
		when(j.AllowFailure, ", may fail"), when(j.Debug, ", breakpoints pause"))
	if r := runtimeText(j.Runtime); r != "" {
		t.line(1, "in %s", r)
	}
	if j.Shell != "" {
		t.line(1, "shell %s", j.Shell)
	}
	for _, v := range j.Versions {
		t.line(1, "runtime %s %s", v.Name, v.Version)
	}
	replaced := func(v ci.Variable) bool {
		return slices.ContainsFunc(j.Own, func(o ci.Variable) bool { return o.Name == v.Name })
	}
	for _, v := range append(slices.DeleteFunc(slices.Clone(j.Variables), replaced), j.Own...) {
		if v.Secret() {
			t.line(1, "variable %s from %s %s", v.Name, v.Kind, v.Value)
		} else {
			t.line(1, "variable %s=%s", v.Name, clip(v.Value))
		}
	}
	for _, p := range j.Phases {
		t.phase(p)
	}
	t.outputs(j)
}

func runtimeText(r ci.Runtime) string {
	var parts []string
	for _, p := range []string{r.Executor, r.Image, when(r.Dockerfile != "", "an image from "+r.Dockerfile), r.Type, r.Size, when(r.Privileged, "privileged")} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

func (t *tree) phase(p ci.PhasePlan) {
	if len(p.Steps)+len(p.Finally) == 0 {
		return
	}
	rule := ""
	if p.OnFailure.Action != ci.FailStandard {
		rule = ", on failure " + string(p.OnFailure.Action)
		if p.OnFailure.Action == ci.FailRetry {
			rule += fmt.Sprintf(" up to %d times", p.OnFailure.Retries)
			rule += when(p.OnFailure.Pattern != "", " where the error matches "+p.OnFailure.Pattern)
		}
	}
	t.line(1, "%s%s%s", p.Phase, when(p.User != "", " as "+p.User), rule)
	for _, s := range p.Steps {
		t.line(2, "%d: %s", s.Pos.Line, clip(s.Run))
	}
	if len(p.Finally) > 0 {
		t.line(2, "finally")
		for _, s := range p.Finally {
			t.line(3, "%d: %s", s.Pos.Line, clip(s.Run))
		}
	}
}

func (t *tree) outputs(j *ci.Job) {
	for _, r := range j.Reports {
		t.line(1, "report %s: %s from %s", r.Group, r.Format, below(r.Base, r.Files))
	}
	for _, a := range j.Artifacts {
		t.line(1, "artifact%s%s: %s%s", when(a.ID != "", " "+a.ID), when(a.Name != "", " named "+a.Name),
			below(a.Base, a.Files), when(len(a.Excludes) > 0, ", but not "+strings.Join(a.Excludes, ", ")))
	}
	if c := j.Cache; c != nil {
		t.line(1, "cache%s: %s%s%s", when(c.Key != "", " "+c.Key), strings.Join(c.Paths, ", "),
			when(!c.Restore, ", never restored"), when(!c.Save, ", never saved"))
	}
	if len(j.Exports) > 0 {
		t.line(1, "exports %s", strings.Join(j.Exports, ", "))
	}
}

func below(base string, files []string) string {
	return strings.Join(files, ", ") + when(base != "", " below "+base)
}

// clip makes one readable line of a script or a value.
func clip(s string) string {
	s = strings.TrimSpace(s)
	first, rest, _ := strings.Cut(s, "\n")
	if n := strings.Count(rest, "\n"); rest != "" {
		return fmt.Sprintf("%s … (+%d line%s)", first, n+1, plurals(n+1))
	}
	return first
}
