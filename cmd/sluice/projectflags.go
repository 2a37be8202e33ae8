package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// projectFlags are those of project create and project update.
type projectFlags struct {
	source, file, image, executor, isolation, size string
	description, artifacts, supersede, whenFull    string
	env, dropEnv, after, tags                      []string
	builds, jobs, autoRetry                        int
	timeout, queue                                 time.Duration
	batch, private, badge, privileged              bool
}

func (f *projectFlags) register(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&f.source, "source", "", "`PATH` of a directory on the server's machine, or URL of a git repository, or upload: builds are of what 'sluice run --remote' sends")
	fs.StringVarP(&f.file, "file", "f", "", "`PATH` of the definition in the source (default: the first found of "+strings.Join(definitionNames(), ", ")+")")
	fs.StringVarP(&f.image, "image", "i", "", "container `IMAGE` to build in")
	fs.StringVarP(&f.executor, "executor", "x", "", "where to build: local or docker (default: docker when an image is named and an engine answers)")
	fs.StringVar(&f.isolation, "isolation", "", "of the local executor: none, sandbox or gvisor (default sandbox)")
	fs.StringVar(&f.size, "size", "", "CodeBuild compute `TYPE`, such as BUILD_GENERAL1_SMALL: limits CPUs and memory, and is what the build waits for when the machine is full")
	fs.BoolVar(&f.privileged, "privileged", false, "let containers administer their machine, as a Docker daemon inside needs")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "set a variable for all builds: `NAME=VALUE` (repeatable)")
	fs.DurationVarP(&f.timeout, "timeout", "t", 0, "stop jobs that run longer, such as 90s or 15m (default 1h)")
	fs.DurationVar(&f.queue, "queue-timeout", 0, "end a build when it has not begun after this time")
	fs.IntVar(&f.builds, "builds", 0, "builds of the project at once, at most; the others wait (0 = as many as there is room for)")
	fs.StringVar(&f.whenFull, "when-full", "", "what becomes of more builds than --builds: queue or refuse (default queue)")
	fs.IntVar(&f.jobs, "jobs", 0, "jobs of one build at once, at most (0 = as many as there is room for)")
	fs.IntVar(&f.autoRetry, "auto-retry", 0, "try a build that fails again by itself, so often")
	fs.StringVar(&f.supersede, "supersede", "", "end older builds of a branch when a newer one begins: none, queued (those that have not begun) or all (default none)")
	fs.StringSliceVar(&f.after, "after", nil, "build it each time that a build of this `PROJECT` succeeded (repeatable)")
	fs.StringVar(&f.artifacts, "artifacts", "", "keep artifacts as zip or folder (default zip)")
	fs.BoolVar(&f.batch, "batch", false, "builds run the batch section")
	fs.BoolVar(&f.private, "private", false, "only those who were given a role in it see it")
	fs.BoolVar(&f.badge, "badge", false, "the state of its last build may be shown to everybody")
	fs.StringArrayVar(&f.tags, "tag", nil, "label it: `NAME=VALUE` (repeatable)")
	fs.StringVar(&f.description, "description", "", "what it is")
}

// onto puts the flags that were given onto a project. All that is wrong comes
// back at once.
func (f *projectFlags) onto(p *client.Project, given func(string) bool) error {
	var wrong []error
	text := map[string]struct {
		to    *string
		value string
	}{
		"file": {&p.File, f.file}, "image": {&p.Runtime.Image, f.image}, "executor": {&p.Runtime.Executor, f.executor}, "isolation": {&p.Runtime.Isolation, f.isolation},
		"size": {&p.Runtime.Size, f.size}, "description": {&p.Description, f.description}, "artifacts": {&p.Artifacts, f.artifacts},
		"supersede": {&p.Limits.Supersede, strings.TrimPrefix(f.supersede, "none")}, "when-full": {&p.Limits.WhenFull, strings.TrimPrefix(f.whenFull, "queue")},
	}
	for name, t := range text {
		if given(name) {
			*t.to = t.value
		}
	}
	for name, n := range map[string]struct {
		to    *int
		value int
	}{"builds": {&p.Limits.Builds, f.builds}, "jobs": {&p.Limits.Jobs, f.jobs}, "auto-retry": {&p.Limits.AutoRetry, f.autoRetry}} {
		if given(name) {
			*n.to = n.value
		}
	}
	for name, b := range map[string]struct{ to, value *bool }{
		"batch": {&p.Batch, &f.batch}, "private": {&p.Private, &f.private}, "badge": {&p.Badge, &f.badge}, "privileged": {&p.Runtime.Privileged, &f.privileged},
	} {
		if given(name) {
			*b.to = *b.value
		}
	}
	if given("timeout") {
		p.Limits.Timeout = f.timeout
	}
	if given("queue-timeout") {
		p.Limits.Queue = f.queue
	}
	if given("size") {
		p.Runtime.CPUs, p.Runtime.Memory = 0, 0 // a size stands for both
	}
	if given("source") {
		p.Source = sourceNamed(f.source)
	}
	if given("after") {
		p.After = slices.DeleteFunc(slices.Clone(f.after), func(s string) bool { return s == "" })
	}
	for err := range checks(
		oneOf("executor", f.executor, "", "local", "docker"),
		oneOf("isolation", f.isolation, "", "none", "sandbox", "gvisor"),
		oneOf("supersede", f.supersede, "", "none", ci.SupersedeQueued, ci.SupersedeAll),
		oneOf("when-full", f.whenFull, "", "queue", ci.WhenFullRefuse),
		oneOf("artifacts", f.artifacts, "", "zip", "folder"),
		f.labels(p), f.variables(p),
	) {
		wrong = append(wrong, err)
	}
	if _, _, err := computeSize(ci.Runtime{Size: f.size}); err != nil {
		wrong = append(wrong, errors.New(ci.Message(err)))
	}
	if p.Source.Type == "" {
		wrong = append(wrong, errors.New("--source is missing: want the path of a directory, or the URL of a git repository"))
	}
	return errors.Join(wrong...)
}

// variables sets those that are given, and takes away those that are to go.
func (f *projectFlags) variables(p *client.Project) error {
	vars, err := variablesNamed(f.env)
	for _, v := range vars {
		at := slices.IndexFunc(p.Variables, func(o client.Variable) bool { return o.Name == v.Name })
		if at < 0 {
			p.Variables = append(p.Variables, v)
		} else {
			p.Variables[at] = v
		}
	}
	for _, name := range f.dropEnv {
		at := slices.IndexFunc(p.Variables, func(o client.Variable) bool { return o.Name == name })
		if at < 0 {
			err = errors.Join(err, fmt.Errorf("--drop-env %s: the project has no such variable", name))
			continue
		}
		p.Variables = slices.Delete(p.Variables, at, at+1)
	}
	return err
}

// labels sets tags; one without a value is taken away.
func (f *projectFlags) labels(p *client.Project) (err error) {
	for _, t := range f.tags {
		name, value, ok := strings.Cut(t, "=")
		if !ok || name == "" {
			err = errors.Join(err, fmt.Errorf("--tag %q: want NAME=VALUE, or NAME= to take it away", t))
			continue
		}
		if value == "" {
			delete(p.Tags, name)
			continue
		}
		if p.Tags == nil {
			p.Tags = map[string]string{}
		}
		p.Tags[name] = value
	}
	return err
}

func newProjectUpdate() *cobra.Command {
	var r remote
	var f projectFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a project", Args: cobra.ExactArgs(1),
		Long: `Update changes what the flags name, and leaves the rest as it is. --after replaces
the whole list ('--after ""' empties it); --env and --tag add to what is there.`,
		Example: `  sluice project update app --image golang:1.26 --timeout 30m
  sluice project update app --auto-retry 2 --supersede queued
  sluice project update app --env STAGE=test --drop-env OLD --tag team=web`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			p, err := c.Project(ctx, args[0])
			if err != nil {
				return err
			}
			if err := f.onto(&p, cmd.Flags().Changed); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			if p, err = c.UpdateProject(ctx, p); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, p)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "updated project %s\n", p.Name)
			return err
		}),
	}
	f.register(cmd.Flags())
	cmd.Flags().StringArrayVar(&f.dropEnv, "drop-env", nil, "take away the variable `NAME` (repeatable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the project as JSON")
	r.register(cmd.Flags())
	return cmd
}
