package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/price"
)

func newUsage() *cobra.Command {
	var r remote
	var f client.UsageFilter
	var since, until string
	var asJSON, asCSV bool
	cmd := &cobra.Command{
		Use: "usage", Short: "What builds used: minutes by compute size, and their cost", Args: cobra.NoArgs,
		Long: `Usage adds up the minutes that jobs held their sandboxes, rounded up to whole ones
for each job as CodeBuild does, and what they cost by the server's price table. Time
in the queue does not count. Days and months are those of UTC. What was used stays
when builds and projects are deleted.`,
		Example: `  sluice usage
  sluice usage --by project,branch,user,day --since 2026-11-01
  sluice usage --by size --project app --since 30d --csv`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if asJSON && asCSV {
				return usagef("--json and --csv: want one of them")
			}
			var err error
			if f.Since, err = day("--since", since, time.Now()); err != nil {
				return err
			}
			if f.Until, err = day("--until", until, time.Now()); err != nil {
				return err
			}
			rows, err := allPages(func(p client.Paging) (client.Page[client.UsageRow], error) {
				f.Paging = p
				return c.Usage(ctx, f)
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeJSON(cmd, rows)
			case asCSV:
				return writeUsageCSV(cmd.OutOrStdout(), f.By, rows)
			}
			sums := f
			sums.By, sums.Paging = nil, client.Paging{}
			total, err := c.Usage(ctx, sums)
			if err != nil {
				return err
			}
			return showUsage(cmd.OutOrStdout(), f.By, rows, total.Items)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringSliceVar(&f.By, "by", []string{"project", "size"}, "what to group and sort by: day, month, project, branch, user, executor, type, size")
	fs.StringVar(&f.Project, "project", "", "of this project only")
	fs.StringVar(&f.Branch, "branch", "", "of this branch or tag")
	fs.StringVar(&f.User, "user", "", "of builds that this user started")
	fs.StringVar(&since, "since", "", "of jobs that ended on this `DAY` or later: 2026-11-01, 2026-11, or 30d for the last 30 days (default: since this month began)")
	fs.StringVar(&until, "until", "", "of jobs that ended before this `DAY`")
	fs.BoolVar(&asJSON, "json", false, "print them as JSON")
	fs.BoolVar(&asCSV, "csv", false, "print them as CSV, with a line of names")
	if err := cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{"day", "month", "project", "branch", "user", "executor", "type", "size"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there
	}
	r.register(fs)
	return cmd
}

// day reads a day of UTC, the beginning of a month or a number of days ago. "" is
// the beginning of this month for --since, and no limit otherwise.
func day(flag, text string, now time.Time) (time.Time, error) {
	now = now.UTC()
	if text == "" {
		if flag == "--since" {
			return time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC), nil
		}
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 36500 {
			return now.AddDate(0, 0, -n).Truncate(24 * time.Hour), nil
		}
	}
	return time.Time{}, usagef("%s %q: want a day, such as 2026-11-22, a month, such as 2026-11, or 30d for 30 days ago", flag, text)
}

// allPages reads a list to its end.
func allPages[T any](read func(client.Paging) (client.Page[T], error)) ([]T, error) {
	items := []T{}
	for p := (client.Paging{Limit: 200}); ; {
		page, err := read(p)
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if p.After = page.Next; p.After == "" {
			return items, nil
		}
	}
}

// usageCell is what a row says of a key.
func usageCell(u client.UsageRow, key string) string {
	switch key {
	case "day":
		return u.Day
	case "month":
		return u.Month
	case "project":
		return u.Project
	case "branch":
		return strings.TrimPrefix(u.Branch, "refs/heads/")
	case "user":
		return u.User
	case "executor":
		return u.Executor
	case "type":
		return u.Type
	}
	return u.Size
}

// minutes shows those billed by the second with the digits that are of use.
func minutes(m float64) string {
	return strconv.FormatFloat(math.Round(m*10000)/10000, 'f', -1, 64)
}

// money is an amount with the digits that it has, two at least.
func money(amount float64, currency string) string {
	text := strconv.FormatFloat(amount, 'f', 6, 64)
	text = text[:len(text)-4] + strings.TrimRight(text[len(text)-4:], "0")
	return strings.TrimSpace(text + " " + currency)
}

func showUsage(w io.Writer, by []string, rows, total []client.UsageRow) error {
	var head []string
	for _, k := range by {
		head = append(head, strings.ToUpper(k))
	}
	out := [][]string{append(head, "BUILDS", "JOBS", "MINUTES", "COST")}
	line := func(cells []string, u client.UsageRow) {
		out = append(out, append(cells, strconv.FormatInt(u.Builds, 10), strconv.FormatInt(u.Jobs, 10), minutes(u.Minutes), money(u.Cost, u.Currency)))
	}
	for _, u := range rows {
		var cells []string
		for _, k := range by {
			cell := usageCell(u, k)
			if cell == "" {
				cell = "-"
			}
			cells = append(cells, cell)
		}
		line(cells, u)
	}
	if len(rows) != 1 && len(by) > 0 {
		for _, u := range total {
			cells := make([]string, len(by))
			cells[0] = "total"
			line(cells, u)
		}
	}
	return table(w, out)
}

func writeUsageCSV(w io.Writer, by []string, rows []client.UsageRow) error {
	c := csv.NewWriter(w)
	head := append(append([]string{}, by...), "builds", "jobs", "seconds", "minutes", "cost", "currency")
	if err := c.Write(head); err != nil {
		return err
	}
	for _, u := range rows {
		var cells []string
		for _, k := range by {
			cells = append(cells, usageCell(u, k))
		}
		cells = append(cells, strconv.FormatInt(u.Builds, 10), strconv.FormatInt(u.Jobs, 10), strconv.FormatInt(u.Seconds, 10),
			minutes(u.Minutes), strconv.FormatFloat(u.Cost, 'f', -1, 64), u.Currency)
		if err := c.Write(cells); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// readPrices reads the price table; without a file nothing costs anything.
func readPrices(name string) (*price.Table, error) {
	if name == "" {
		return &price.Table{}, nil
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s; contrib/prices/codebuild.yml is an example of one", name)
	}
	if err != nil {
		return nil, err
	}
	return price.Parse(name, text)
}
