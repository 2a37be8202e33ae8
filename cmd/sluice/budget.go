package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

func newBudget() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "budget",
		Short: "What projects and the server may use in a month",
		Long: `A budget limits the minutes, the cost, or both, of a project or of the whole server in
a month of UTC. At its warning levels people are told, and when it is used up new
builds are refused until the month ends; what runs goes on. Without the name of a
project these commands are about the budget of the whole server.`,
		Example: `  sluice budget set app --minutes 2000 --warn 50,80
  sluice budget set --cost 500 --warn-only
  sluice budget list
  sluice budget override app`,
	}
	cmd.AddCommand(newBudgetList(), newBudgetShow(), newBudgetSet(), newBudgetOverride(), newBudgetDelete())
	return cmd
}

// ofBudget is the project that the arguments name, "" = the server.
func ofBudget(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func budgetName(project string) string {
	if project == "" {
		return "the server"
	}
	return project
}

func newBudgetList() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List budgets and how they stand this month", Args: cobra.NoArgs,
		Long: `List shows how much of each budget is used, and what will have been used when the
month ends if it goes on like this: what was used, by the days of the month that have
passed, times the days that it has.`,
		Example: "  sluice budget list\n  sluice budget list --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			all, err := c.Budgets(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"BUDGET", "MINUTES", "COST", "USED", "FORECAST", "STATE"}}
			for _, b := range all {
				rows = append(rows, []string{budgetName(b.Project), usedMinutes(b), usedCost(b), percent(b.Spent.Percent), percent(b.Forecast.Percent), budgetState(b)})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(cmd.Flags())
	return cmd
}

func percent(p float64) string { return strconv.FormatFloat(p, 'f', 0, 64) + "%" }

func usedMinutes(b client.BudgetStatus) string {
	if b.Minutes == 0 {
		return minutes(b.Spent.Minutes)
	}
	return fmt.Sprintf("%s of %d", minutes(b.Spent.Minutes), b.Minutes)
}

func usedCost(b client.BudgetStatus) string {
	switch {
	case b.Currency == "":
		return "-"
	case b.Cost == 0:
		return money(b.Spent.Cost, b.Currency)
	}
	return money(b.Spent.Cost, "") + " of " + money(b.Cost, b.Currency)
}

func budgetState(b client.BudgetStatus) string {
	switch {
	case b.Minutes == 0 && b.Cost == 0:
		return "no budget"
	case b.Stopped:
		return "used up: new builds are refused"
	case b.Spent.Percent >= 100 && b.Override == b.Month:
		return "used up, lifted for " + b.Month
	case b.Spent.Percent >= 100:
		return "used up"
	case len(b.Reached) > 0:
		return fmt.Sprintf("%d%% passed", b.Reached[len(b.Reached)-1].Level)
	}
	return "ok"
}

func newBudgetShow() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show [PROJECT]", Short: "Show a budget and how it stands this month", Args: cobra.MaximumNArgs(1),
		Example: "  sluice budget show app\n  sluice budget show --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			b, err := c.Budget(ctx, ofBudget(args))
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, b)
			}
			rows := [][]string{
				{"Budget", budgetName(b.Project)}, {"Month", b.Month}, {"Minutes", usedMinutes(b)}, {"Cost", usedCost(b)}, {"Used", percent(b.Spent.Percent)},
				{"Forecast", strings.TrimSpace(fmt.Sprintf("%s (%.0f minutes, %s)", percent(b.Forecast.Percent), b.Forecast.Minutes, money(b.Forecast.Cost, b.Currency)))},
				{"State", budgetState(b)},
			}
			for _, a := range b.Reached {
				rows = append(rows, []string{fmt.Sprintf("%d%%", a.Level), "reached at " + a.Time.Local().Format(time.DateTime)})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	r.register(cmd.Flags())
	return cmd
}

func newBudgetSet() *cobra.Command {
	var r remote
	var b client.Budget
	var asJSON bool
	cmd := &cobra.Command{
		Use: "set [PROJECT]", Short: "Set a monthly budget", Args: cobra.MaximumNArgs(1),
		Long: `Set sets the budget of a project, or without a project that of the whole server, in
place of the one it had. It is for administrators.`,
		Example: "  sluice budget set app --minutes 2000\n  sluice budget set app --cost 25 --warn 50,80,95\n  sluice budget set --minutes 100000 --warn-only",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			b.Project = ofBudget(args)
			put, err := c.SetBudget(ctx, b)
			return saidBudget(cmd, put, asJSON, err)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.Int64Var(&b.Minutes, "minutes", 0, "billed minutes of a month")
	fs.Float64Var(&b.Cost, "cost", 0, "cost of a month")
	fs.StringVar(&b.Currency, "currency", "", "of the cost (default: that of the server's prices)")
	fs.IntSliceVar(&b.Warn, "warn", []int{80}, "tell people at these `PERCENT`")
	fs.BoolVar(&b.WarnOnly, "warn-only", false, "never refuse builds")
	fs.BoolVar(&asJSON, "json", false, "print it as JSON")
	r.register(fs)
	return cmd
}

func saidBudget(cmd *cobra.Command, b client.BudgetStatus, asJSON bool, err error) error {
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd, b)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "budget of %s: %s used this month: %s\n", budgetName(b.Project), percent(b.Spent.Percent), budgetState(b))
	return err
}

func newBudgetOverride() *cobra.Command {
	var r remote
	var off bool
	cmd := &cobra.Command{
		Use: "override [PROJECT]", Short: "Let builds begin this month although the budget is used up", Args: cobra.MaximumNArgs(1),
		Long: `Override lifts a budget until the month ends; the next one counts as before. It is for
administrators.`,
		Example: "  sluice budget override app\n  sluice budget override app --off",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			b, err := c.Budget(ctx, ofBudget(args))
			if err != nil {
				return err
			}
			if b.Minutes == 0 && b.Cost == 0 {
				return usagef("%s has no budget; see 'sluice budget list'", budgetName(b.Project))
			}
			if b.Override = b.Month; off {
				b.Override = ""
			}
			put, err := c.SetBudget(ctx, b.Budget)
			return saidBudget(cmd, put, false, err)
		}),
	}
	cmd.Flags().BoolVar(&off, "off", false, "let the budget count again")
	r.register(cmd.Flags())
	return cmd
}

func newBudgetDelete() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "delete [PROJECT]", Short: "End a budget", Args: cobra.MaximumNArgs(1),
		Example: "  sluice budget delete app",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			err := c.DeleteBudget(ctx, ofBudget(args))
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted the budget of %s\n", budgetName(ofBudget(args)))
			}
			return err
		}),
	}
	r.register(cmd.Flags())
	return cmd
}
