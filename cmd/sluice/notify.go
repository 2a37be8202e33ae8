package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

func newNotify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Who is told of what happens to builds, and what became of it",
		Long: `A target is whom the server tells of what happens to builds: a program (webhook,
as signed CloudEvents), a mailbox, a channel of Slack, Teams, Discord or Mattermost.
It is of one project (--project), for its maintainers to set up, or of all, for
administrators. Each notice arrives at least once: it is tried again for hours, then
kept for 'sluice notify redeliver'.`,
		Example: `  sluice notify target ops --kind webhook --url https://example.com/hook --changed
  sluice notify target team --project app --kind slack --url-file slack.url --status failed
  sluice notify test ops
  sluice notify deliveries ops --state dead
  sluice notify redeliver ops`,
	}
	cmd.AddCommand(newNotifyTarget(), newNotifyList(), newNotifyShow(), newNotifyDelete(), newNotifyTest(), newNotifyDeliveries(), newNotifyRedeliver())
	return cmd
}

// ofTarget is what the commands about one target have in common.
type ofTarget struct {
	remote
	project string
}

func (o *ofTarget) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.project, "project", "", "`NAME` of the project whose target it is (default: all projects)")
	o.remote.register(cmd.Flags())
}

func newNotifyList() *cobra.Command {
	var o ofTarget
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the targets, without their secrets", Args: cobra.NoArgs,
		Example: "  sluice notify list\n  sluice notify list --project app --json",
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			all, err := c.Targets(ctx, o.project)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"NAME", "KIND", "TO", "WHEN", "STATE"}}
			for _, t := range all {
				state := "enabled"
				if t.Disabled {
					state = "disabled"
				}
				rows = append(rows, []string{t.Name, t.Kind, whereTo(t), filterOf(t), state})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	o.register(cmd)
	return cmd
}

func whereTo(t client.Target) string {
	if t.Mail != nil {
		return strings.Join(t.Mail.To, ",")
	}
	return t.URL
}

// filterOf is what a target wants to hear of, in a few words.
func filterOf(t client.Target) string {
	what := []string{"build_finished"}
	if len(t.Events) > 0 {
		what = []string{strings.Join(t.Events, ",")}
	}
	if t.Changed {
		what = append(what, "changed")
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"status", t.Statuses}, {"branch", t.Branches}, {"project", t.Projects}} {
		if len(f.list) > 0 {
			what = append(what, f.name+"="+strings.Join(f.list, ","))
		}
	}
	return strings.Join(what, " ")
}

func newNotifyShow() *cobra.Command {
	var o ofTarget
	cmd := &cobra.Command{
		Use: "show TARGET", Short: "Show a target as JSON, without its secret", Args: cobra.ExactArgs(1),
		Example: "  sluice notify show ops",
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			t, err := c.Target(ctx, o.project, args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd, t)
		}),
	}
	o.register(cmd)
	return cmd
}

func newNotifyDelete() *cobra.Command {
	var o ofTarget
	cmd := &cobra.Command{
		Use: "delete TARGET", Short: "Delete a target, with what is on its way to it", Args: cobra.ExactArgs(1),
		Example: "  sluice notify delete ops",
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			err := c.DeleteTarget(ctx, o.project, args[0])
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted target %s\n", args[0])
			}
			return err
		}),
	}
	o.register(cmd)
	return cmd
}

func newNotifyTest() *cobra.Command {
	var o ofTarget
	cmd := &cobra.Command{
		Use: "test TARGET", Short: "Send a test to a target, and say what came of it", Args: cobra.ExactArgs(1),
		Long:    `Test has the server send one notice, once, whatever the target's filter says.`,
		Example: "  sluice notify test ops",
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			out, err := c.TestTarget(ctx, o.project, args[0])
			if err != nil {
				return err
			}
			if !out.Delivered {
				return fmt.Errorf("%s did not take the test: %s", args[0], printable(out.Error))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s took the test, in %d ms\n", args[0], out.Took.Milliseconds())
			return err
		}),
	}
	o.register(cmd)
	return cmd
}

func newNotifyDeliveries() *cobra.Command {
	var o ofTarget
	var asJSON bool
	var state string
	var limit int
	cmd := &cobra.Command{
		Use: "deliveries TARGET", Short: "List what was and will be sent to a target, the newest first", Args: cobra.ExactArgs(1),
		Long: `Deliveries are pending, delivered or dead: dead ones were given up, and are kept for
30 days; those delivered for 7.`,
		Example: "  sluice notify deliveries ops\n  sluice notify deliveries ops --state dead --json",
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if err := oneOf("state", state, "", "pending", "delivered", "dead"); err != nil {
				return usagef("%w", err)
			}
			if limit < 1 {
				return usagef("--limit %d: want 1 or more", limit)
			}
			all, err := pages(limit, func(p client.Paging) (client.Page[client.Delivery], error) {
				return c.Deliveries(ctx, o.project, args[0], state, p)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"ID", "STATE", "BUILD", "EVENT", "STATUS", "CREATED", "ATTEMPTS", "ERROR"}}
			for _, d := range all {
				rows = append(rows, []string{
					strconv.FormatInt(d.ID, 10), d.State, fmt.Sprintf("%s/%d", d.Notice.Project, d.Notice.Number), d.Notice.Event, d.Notice.Status,
					age(d.Created), strconv.Itoa(d.Attempts), orDash(d.Error),
				})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&state, "state", "", "only those in this `STATE`: pending, delivered or dead")
	fs.IntVar(&limit, "limit", 50, "at most this many")
	fs.BoolVar(&asJSON, "json", false, "print them as JSON")
	o.register(cmd)
	return cmd
}

func newNotifyRedeliver() *cobra.Command {
	var o ofTarget
	cmd := &cobra.Command{
		Use: "redeliver TARGET [ID]", Short: "Send again what was given up, or one delivery", Args: cobra.RangeArgs(1, 2),
		Long: `Redeliver sends all deliveries again that were given up, or the one whose ID
'sluice notify deliveries' shows, even if it was delivered.`,
		Example: "  sluice notify redeliver ops\n  sluice notify redeliver ops 12",
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			var id int64
			if len(args) == 2 {
				var err error
				if id, err = strconv.ParseInt(args[1], 10, 64); err != nil || id < 1 {
					return usagef("%q is no delivery: want a number that 'sluice notify deliveries %s' shows", args[1], args[0])
				}
			}
			n, err := c.Redeliver(ctx, o.project, args[0], id)
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "sent again: %d\n", n)
			}
			return err
		}),
	}
	o.register(cmd)
	return cmd
}
