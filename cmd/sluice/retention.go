package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func newProjectRetention() *cobra.Command {
	var r remote
	var set string
	var dryRun, apply, asJSON bool
	cmd := &cobra.Command{
		Use: "retention PROJECT", Short: "Show or set how long builds are kept, and what goes", Args: cobra.ExactArgs(1),
		Long: `Retention shows how long builds of a project are kept, and, apart, their artifacts
and logs, and what goes at the next sweep; nothing is removed. Limits are builds,
days, artifact-builds, artifact-days, log-builds and log-days, each a number or
all; what is beyond one of two limits goes. What a project leaves out is as the
server has it (its setting retention). The newest build that succeeded, builds of
tags and what is not done stay in any case.`,
		Example: `  sluice project retention app --dry-run
  sluice project retention app --set builds=200,artifact-days=30,log-days=90
  sluice project retention app --apply`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if dryRun && apply {
				return usagef("--dry-run and --apply exclude each other")
			}
			if cmd.Flags().Changed("set") {
				if err := setRetention(ctx, c, args[0], set); err != nil {
					return err
				}
			}
			ask := c.Retention
			if apply {
				ask = c.ApplyRetention
			}
			got, err := ask(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, got)
			}
			return showRetained(cmd, got, apply)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&set, "set", "", "keep so: `LIMITS` such as builds=200,days=365,log-days=all; those left out are the server's")
	fs.BoolVar(&dryRun, "dry-run", false, "remove nothing, and say what would go (as without any flag)")
	fs.BoolVar(&apply, "apply", false, "remove it now, and do not wait for the server to (it does every hour)")
	fs.BoolVar(&asJSON, "json", false, "print it as JSON")
	r.register(fs)
	return cmd
}

func setRetention(ctx context.Context, c *client.Client, project, text string) error {
	limits, err := ci.ParseRetention(text)
	if err != nil {
		return usagef("--set: %s", ci.Message(err))
	}
	p, err := c.Project(ctx, project)
	if err != nil {
		return err
	}
	p.Retention = client.Retention(limits)
	_, err = c.UpdateProject(ctx, p)
	return err
}

func showRetained(cmd *cobra.Command, got client.Retained, applied bool) error {
	limits := ci.Retention(got.Limits)
	text := limits.String()
	if text == "" {
		text = "everything, for ever"
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s keeps %s\n", got.Project, text); err != nil {
		return err
	}
	word := "goes"
	if applied {
		word = "went"
	}
	rows := [][]string{{strings.ToUpper(word), "OF BUILDS", "NUMBERS"}}
	for _, g := range got.Goes {
		rows = append(rows, []string{g.Part, strconv.Itoa(g.Builds), numbersText(g.Numbers)})
	}
	return table(cmd.OutOrStdout(), rows)
}

// numbersText writes numbers in order as ranges, and not more than a line of them.
func numbersText(numbers []int64) string {
	var parts []string
	for i := 0; i < len(numbers); {
		k := i
		for k+1 < len(numbers) && numbers[k+1] == numbers[k]+1 {
			k++
		}
		text := strconv.FormatInt(numbers[i], 10)
		if k > i {
			text += "-" + strconv.FormatInt(numbers[k], 10)
		}
		if parts = append(parts, text); len(parts) == 10 && k+1 < len(numbers) {
			parts = append(parts, "…")
			break
		}
		i = k + 1
	}
	return strings.Join(parts, " ")
}
