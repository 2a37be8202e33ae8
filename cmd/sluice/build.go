package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

func newBuild() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build",
		Short: "The builds of a server",
		Long: `A build is one run of a project, named PROJECT/NUMBER. The server is the one that
SLUICE_URL names; SLUICE_TOKEN holds the token.`,
		Example: `  sluice build start app --ref main --follow
  sluice build list --project app
  sluice build show app/12`,
	}
	cmd.AddCommand(newBuildStart(), newBuildList(), newBuildShow(), newBuildStop(), newBuildRetry(), newBuildDelete())
	return cmd
}

func newBuildStart() *cobra.Command {
	var r remote
	var s client.StartBuild
	var env, params []string
	var batch, follow, asJSON bool
	cmd := &cobra.Command{
		Use: "start PROJECT", Short: "Start a build", Args: cobra.ExactArgs(1),
		Long: `Start starts a build of a project; what no flag says is as the project has it.
With --follow it prints the build's output and ends with the exit code that
'sluice run' would have.`,
		Example: `  sluice build start app --follow
  sluice build start app --ref v1.2.0 --env STAGE=test --json
  sluice build start app --param TARGET=staging --param TOKEN`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			vars, err := variablesNamed(env)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			s.Variables = vars
			if s.Parameters, err = parametersNamed(params); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			if cmd.Flags().Changed("batch") {
				s.Batch = &batch
			}
			b, _, err := c.StartBuild(ctx, args[0], s)
			return began(ctx, c, cmd, b, err, follow, asJSON)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&s.Ref, "ref", "", "branch, tag or commit to build")
	fs.StringVarP(&s.File, "file", "f", "", "`PATH` of the definition in the source")
	fs.StringArrayVarP(&env, "env", "e", nil, "set a variable: `NAME=VALUE`, or NAME to pass on the value from here (repeatable)")
	fs.StringArrayVarP(&params, "param", "p", nil, "give a parameter of the project: `NAME=VALUE`, NAME=@FILE, or NAME to take it from the environment, as is better for passwords (repeatable)")
	fs.StringVarP(&s.Runtime.Image, "image", "i", "", "container `IMAGE` to build in")
	fs.StringVarP(&s.Runtime.Executor, "executor", "x", "", "where to build: local or docker")
	fs.StringVar(&s.Runtime.Size, "size", "", "CodeBuild compute `TYPE`")
	fs.DurationVarP(&s.Limits.Timeout, "timeout", "t", 0, "stop jobs that run longer, such as 90s or 15m")
	fs.DurationVar(&s.Limits.Queue, "queue-timeout", 0, "end the build when it has not begun after this time")
	fs.IntVar(&s.Limits.AutoRetry, "auto-retry", 0, "try a build that fails again by itself, so often")
	fs.StringVar(&s.Artifacts, "artifacts", "", "keep artifacts as zip or folder")
	fs.BoolVar(&batch, "batch", false, "run the batch section, or not (--batch=false)")
	fs.StringVar(&s.Key, "key", "", "a second start with the same key finds the first build")
	followFlags(cmd, &follow, &asJSON)
	r.register(fs)
	return cmd
}

func followFlags(cmd *cobra.Command, follow, asJSON *bool) {
	cmd.Flags().BoolVar(follow, "follow", false, "print the output until the build is done")
	cmd.Flags().BoolVar(asJSON, "json", false, "print the build as JSON; with --follow, once it is done and instead of its output")
}

// began says that a build was started, or follows it to its end.
func began(ctx context.Context, c *client.Client, cmd *cobra.Command, b client.Build, err error, follow, asJSON bool) error {
	switch {
	case err != nil:
		return err
	case follow:
		return followBuild(ctx, c, cmd, b, asJSON)
	case asJSON:
		return writeJSON(cmd, b)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s/%d\n", b.Project, b.Number)
	return err
}

// followBuild prints the output of a build, then how it ended, and gives its exit code.
func followBuild(ctx context.Context, c *client.Client, cmd *cobra.Command, b client.Build, asJSON bool) error {
	log, err := c.Log(ctx, b.Project, b.Number, client.LogOptions{Follow: true})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		out = io.Discard
	} else {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s/%d\n", b.Project, b.Number)
	}
	screen := harmlessTo(out)
	_, err = io.Copy(screen, log)
	if err = errors.Join(err, screen.Close(), log.Close()); err != nil {
		return err
	}
	// The log ends with the last command; the build, when all about it is recorded.
	if err := c.Events(ctx, b.Project, b.Number, 0, func(client.Event) error { return nil }); err != nil {
		return err
	}
	if b, err = c.Build(ctx, b.Project, b.Number); err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(cmd, b)
	} else {
		err = sayEnd(cmd.ErrOrStderr(), b)
	}
	if err != nil {
		return err
	}
	return said(codeOfStatus(b))
}

// sayEnd is the line about a build that is done.
func sayEnd(w io.Writer, b client.Build) error {
	text := strings.ToUpper(strings.ReplaceAll(b.Status, "_", " "))
	if t := took(b); t != "" {
		text += " in " + t
	}
	if b.Reason != "" {
		text += ": " + printable(b.Reason)
	}
	for _, p := range b.Problems {
		text += fmt.Sprintf("\n%s:%d:%d: %s: %s", p.File, p.Line, p.Col, p.Severity, printable(p.Message))
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func newBuildList() *cobra.Command {
	var r remote
	var f client.BuildFilter
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List builds, the newest first", Args: cobra.NoArgs,
		Example: `  sluice build list --project app --limit 10
  sluice build list --status failed --status errored --json`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit %d: want 1 or more", limit)
			}
			all, err := pages(limit, func(p client.Paging) (client.Page[client.Build], error) {
				f.Paging = p
				return c.Builds(ctx, f)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"BUILD", "STATUS", "COMMIT", "REF", "BY", "QUEUED", "TOOK", "REASON", "+SUBJECT", "+METERED", "+RETRY OF", "+ID"}}
			for _, b := range all {
				rows = append(rows, []string{
					fmt.Sprintf("%s/%d", b.Project, b.Number), b.Status, b.Commit.Hash[:min(len(b.Commit.Hash), 8)],
					strings.TrimPrefix(b.Commit.Ref, "refs/heads/"), b.Initiator, age(b.Queued), took(b), b.Reason, b.Commit.Subject, fmt.Sprintf("%d s", b.Metered), b.RetryOf, b.ID,
				})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.Project, "project", "", "of this project only")
	fs.StringSliceVar(&f.Status, "status", nil, "with one of these statuses (repeatable)")
	fs.StringVar(&f.Ref, "ref", "", "of this branch or tag")
	fs.StringVar(&f.Commit, "commit", "", "of this commit, or those that begin so")
	fs.StringVar(&f.Initiator, "by", "", "that this user started")
	fs.IntVar(&limit, "limit", 50, "at most this many")
	fs.BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(fs)
	return cmd
}

func newBuildShow() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show PROJECT/NUMBER", Short: "Show a build", Args: cobra.ExactArgs(1),
		Example: "  sluice build show app/12\n  sluice build show app/12 --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			project, number, err := buildName(args[0])
			if err != nil {
				return err
			}
			b, err := c.Build(ctx, project, number)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, b)
			}
			return showBuild(cmd.OutOrStdout(), b)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that is known of it as JSON")
	r.register(cmd.Flags())
	return cmd
}

func showBuild(w io.Writer, b client.Build) error {
	rows := [][]string{
		{"Build", fmt.Sprintf("%s/%d", b.Project, b.Number)},
		{"Status", strings.TrimSpace(b.Status + "  " + b.Reason)},
	}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("Waits", b.Waits)
	add("Commit", strings.TrimSpace(b.Commit.Hash+" "+b.Commit.Ref))
	add("Subject", b.Commit.Subject)
	add("Started by", b.Initiator)
	if b.After != nil {
		add("After", fmt.Sprintf("%s/%d", b.After.Project, b.After.Number))
	}
	if b.Attempt > 0 {
		add("Attempt", fmt.Sprintf("%d of %d more", b.Attempt, b.Limits.AutoRetry))
	}
	if b.Retry > 0 {
		add("Tried again", fmt.Sprintf("%s/%d", b.Project, b.Retry))
	}
	add("Queued", b.Queued.Local().Format(time.DateTime))
	add("Took", took(b))
	add("Metered", strconv.FormatInt(b.Metered, 10)+" s")
	if err := table(w, rows); err != nil {
		return err
	}
	return showJobs(w, b)
}

// oneBuild is a command about one build that prints it as it then is.
func oneBuild(use, short, example string, do func(context.Context, *client.Client, *cobra.Command, string, int64) error) *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: use + " PROJECT/NUMBER", Short: short, Args: cobra.ExactArgs(1), Example: example,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			project, number, err := buildName(args[0])
			if err != nil {
				return err
			}
			return do(ctx, c, cmd, project, number)
		}),
	}
	r.register(cmd.Flags())
	return cmd
}

func newBuildStop() *cobra.Command {
	return oneBuild("stop", "Ask a build to stop", "  sluice build stop app/12",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			b, err := c.StopBuild(ctx, project, number)
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s/%d is %s\n", b.Project, b.Number, b.Status)
			}
			return err
		})
}

func newBuildRetry() *cobra.Command {
	var follow, asJSON bool
	var again client.RetryOptions
	cmd := oneBuild("retry", "Build the same commit with the same parameters again", "  sluice build retry app/12 --follow\n  sluice build retry app/12 --failed\n  sluice build retry app/12 --from integration",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			b, _, err := c.RetryBuild(ctx, project, number, again)
			return began(ctx, c, cmd, b, err, follow, asJSON)
		})
	cmd.Flags().BoolVar(&again.Failed, "failed", false, "only the jobs that did not succeed, and those that need them; the others are taken over, with their artifacts and reports")
	cmd.Flags().StringVar(&again.From, "from", "", "only this `JOB` and those that need it, and what did not succeed")
	cmd.Flags().StringVar(&again.Key, "key", "", "a second retry with the same key finds the first one's build")
	followFlags(cmd, &follow, &asJSON)
	return cmd
}

func newBuildDelete() *cobra.Command {
	return oneBuild("delete", "Delete a build that is done, with its logs and artifacts", "  sluice build delete app/12",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			err := c.DeleteBuild(ctx, project, number)
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted build %s/%d\n", project, number)
			}
			return err
		})
}
