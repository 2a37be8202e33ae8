package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/internal/ci"
)

func newReport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "report", Short: "Tests and coverage of a server's builds, over time",
		Long: `Reports are what the section reports of a buildspec collects: test results and
coverage. Their numbers and the last runs of each test are kept when their builds
are gone.`,
		Example: `  sluice report list app --branch main
  sluice report show app/12
  sluice report tests app --failing
  sluice report flaky app`,
	}
	cmd.AddCommand(newReportList(), newReportShow(), newReportTests(), newReportOrder("flaky", "flaky", "List tests that passed and failed on the same commit"),
		newReportOrder("slowest", "slowest", "List tests by the time they take"), newReportHistory(), newReportCoverage())
	return cmd
}

// reportFlags are those that lists of reports share.
type reportFlags struct {
	r             remote
	group, branch string
	limit         int
	json          bool
}

func (f *reportFlags) register(fs *pflag.FlagSet, branch bool) {
	fs.SortFlags = false
	fs.StringVar(&f.group, "group", "", "of this report `GROUP` only")
	if branch {
		fs.StringVar(&f.branch, "branch", "", "of this `BRANCH` or tag only")
	}
	fs.IntVar(&f.limit, "limit", 50, "at most this many")
	fs.BoolVar(&f.json, "json", false, "print them as JSON")
	f.r.register(fs)
}

func (f *reportFlags) check() error {
	if f.limit < 1 {
		return usagef("--limit %d: want 1 or more", f.limit)
	}
	return nil
}

func (f *reportFlags) runs(ctx context.Context, c *client.Client, project, kind string) ([]client.ReportRun, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	return pages(f.limit, func(p client.Paging) (client.Page[client.ReportRun], error) {
		return c.ReportRuns(ctx, project, client.ReportFilter{Group: f.group, Ref: f.branch, Type: kind, Paging: p})
	})
}

func newReportList() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use: "list PROJECT", Aliases: []string{"ls"}, Short: "List the reports of a project, the newest first", Args: cobra.ExactArgs(1),
		Example: "  sluice report list app --branch main\n  sluice report list app --group unit --json",
		RunE: f.r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			all, err := f.runs(ctx, c, args[0], "")
			if err != nil || f.json {
				return errOrJSON(cmd, err, all)
			}
			rows := [][]string{{"BUILD", "GROUP", "STATUS", "TESTS", "FAILED", "SKIPPED", "TOOK", "COVERAGE", "REF", "WHEN", "+JOB", "+COMMIT"}}
			for _, r := range all {
				row := []string{fmt.Sprintf("%s/%d", args[0], r.Number), r.Group, strings.ToLower(r.Status), "", "", "", "", "", shortRef(r.Ref), age(r.Time), r.Job, r.Commit}
				if r.Type == "TEST" {
					row[3], row[4], row[5] = strconv.Itoa(r.Tests.Total), strconv.Itoa(r.Tests.Failed+r.Tests.Error), strconv.Itoa(r.Tests.Skipped)
					row[6] = show.Duration(r.Tests.Duration)
				} else {
					row[7] = covered(r.Coverage)
				}
				rows = append(rows, row)
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	f.register(cmd.Flags(), true)
	return cmd
}

// errOrJSON prints a list as JSON, unless reading it failed.
func errOrJSON[T any](cmd *cobra.Command, err error, all []T) error {
	if err != nil {
		return err
	}
	if all == nil {
		all = []T{}
	}
	return writeJSON(cmd, all)
}

func shortRef(ref string) string { return strings.TrimPrefix(ref, "refs/heads/") }

// percent is the coverage of lines.
func covered(c client.Coverage) string {
	return fmt.Sprintf("%.1f %%", ci.Coverage{LinesCovered: c.LinesCovered, LinesMissed: c.LinesMissed}.LinePercent())
}

func newReportCoverage() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use: "coverage PROJECT", Short: "List the coverage of a project, build by build", Args: cobra.ExactArgs(1),
		Example: "  sluice report coverage app --branch main",
		RunE: f.r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			all, err := f.runs(ctx, c, args[0], "CODE_COVERAGE")
			if err != nil || f.json {
				return errOrJSON(cmd, err, all)
			}
			rows := [][]string{{"BUILD", "GROUP", "LINES", "CHANGE", "COVERED", "OF", "REF", "WHEN"}}
			for i, r := range all {
				change := ""
				for _, o := range all[i+1:] {
					if o.Group == r.Group && o.Ref == r.Ref {
						change = fmt.Sprintf("%+.1f", lines(r.Coverage)-lines(o.Coverage))
						break
					}
				}
				rows = append(rows, []string{
					fmt.Sprintf("%s/%d", args[0], r.Number), r.Group, covered(r.Coverage), change, strconv.Itoa(r.Coverage.LinesCovered),
					strconv.Itoa(r.Coverage.LinesCovered + r.Coverage.LinesMissed), shortRef(r.Ref), age(r.Time),
				})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	f.register(cmd.Flags(), true)
	return cmd
}

func lines(c client.Coverage) float64 {
	return ci.Coverage{LinesCovered: c.LinesCovered, LinesMissed: c.LinesMissed}.LinePercent()
}

func newReportShow() *cobra.Command {
	var asJSON bool
	cmd := oneBuild("show", "Show the reports of a build, and what failed", "  sluice report show app/12\n  sluice report show app/12 --json",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			all, err := c.Reports(ctx, project, number)
			if err != nil || asJSON {
				return errOrJSON(cmd, err, all)
			}
			rows := [][]string{{"GROUP", "JOB", "STATUS", "TESTS", "FAILED", "SKIPPED", "COVERAGE"}}
			var failed [][]string
			for _, r := range all {
				row := []string{r.Group, r.Job, strings.ToLower(r.Status), strconv.Itoa(r.Summary.Total), strconv.Itoa(r.Summary.Failed + r.Summary.Error), strconv.Itoa(r.Summary.Skipped), ""}
				if r.Type != "TEST" {
					row = []string{r.Group, r.Job, strings.ToLower(r.Status), "", "", "", covered(r.Coverage)}
				}
				rows = append(rows, row)
				for _, t := range r.Cases {
					if t.Status == ci.TestFailed || t.Status == ci.TestError {
						first, _, _ := strings.Cut(strings.TrimSpace(t.Message), "\n")
						failed = append(failed, []string{"", testName(t), first})
					}
				}
			}
			if err := table(cmd.OutOrStdout(), rows); err != nil || len(failed) == 0 {
				return err
			}
			return table(cmd.OutOrStdout(), append([][]string{{"FAILED", "TEST", "MESSAGE"}}, failed...))
		})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON, with all cases")
	return cmd
}

func testName(t client.TestCase) string {
	if t.Prefix == "" {
		return t.Name
	}
	return t.Prefix + "." + t.Name
}

func newReportTests() *cobra.Command {
	var f reportFlags
	var failing bool
	cmd := &cobra.Command{
		Use: "tests PROJECT", Short: "List the tests of a project with their last runs", Args: cobra.ExactArgs(1),
		Long:    "Tests lists the tests of a project. RECENT shows the last runs, the newest first:\n'.' passed, 'F' failed, 'E' could not be run, 's' was skipped.",
		Example: "  sluice report tests app\n  sluice report tests app --failing",
		RunE: f.r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			order := "name"
			if failing {
				order = "failing"
			}
			return f.tests(ctx, c, cmd, args[0], order)
		}),
	}
	cmd.Flags().BoolVar(&failing, "failing", false, "those that fail now, the newest failures first")
	f.register(cmd.Flags(), false)
	return cmd
}

func newReportOrder(name, order, short string) *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use: name + " PROJECT", Short: short, Args: cobra.ExactArgs(1), Example: "  sluice report " + name + " app --limit 10",
		RunE: f.r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			return f.tests(ctx, c, cmd, args[0], order)
		}),
	}
	f.register(cmd.Flags(), false)
	return cmd
}

func (f *reportFlags) tests(ctx context.Context, c *client.Client, cmd *cobra.Command, project, order string) error {
	if err := f.check(); err != nil {
		return err
	}
	all, err := pages(f.limit, func(p client.Paging) (client.Page[client.TestRecord], error) {
		return c.Tests(ctx, project, client.TestFilter{Group: f.group, Order: order, Paging: p})
	})
	if err != nil || f.json {
		return errOrJSON(cmd, err, all)
	}
	rows := [][]string{{"TEST", "GROUP", "RECENT", "TAKES", "RUNS", "FAILED", "FLAKY", "FAILS SINCE", "+SEEN", "+FLAKY AT"}}
	for _, t := range all {
		since := ""
		if t.Since > 0 {
			since = fmt.Sprintf("%s/%d", project, t.Since)
		}
		rows = append(rows, []string{t.Name, t.Group, strip(t.Recent, 15), show.Duration(t.Mean), strconv.FormatInt(t.Runs, 10), strconv.FormatInt(t.Failed, 10), strconv.FormatInt(t.Flaky, 10), since, age(t.Seen), age(t.FlakyAt)})
	}
	return table(cmd.OutOrStdout(), rows)
}

// strip shows runs as letters, the newest first.
func strip(recent []client.TestResult, most int) string {
	var b strings.Builder
	for _, r := range recent[:min(len(recent), most)] {
		switch r.Status {
		case ci.TestSucceeded:
			b.WriteByte('.')
		case ci.TestSkipped:
			b.WriteByte('s')
		case ci.TestUnknown:
			b.WriteByte('?')
		default:
			b.WriteString(r.Status[:1])
		}
	}
	return b.String()
}

func newReportHistory() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use: "history PROJECT TEST", Short: "List the last runs of one test", Args: cobra.ExactArgs(2),
		Example: "  sluice report history app shop.CartTest.addsUp",
		RunE: f.r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			page, err := c.Tests(ctx, args[0], client.TestFilter{Group: f.group, Name: args[1]})
			if err != nil || f.json {
				return errOrJSON(cmd, err, page.Items)
			}
			if len(page.Items) == 0 {
				return usagef("project %s has no test %q; 'sluice report tests %s' names those that it has", args[0], args[1], args[0])
			}
			rows := [][]string{{"BUILD", "GROUP", "STATUS", "TOOK", "COMMIT", "REF", "WHEN"}}
			for _, t := range page.Items {
				for _, r := range t.Recent {
					rows = append(rows, []string{fmt.Sprintf("%s/%d", args[0], r.Number), t.Group, strings.ToLower(r.Status), show.Duration(r.Duration), r.Commit, shortRef(r.Ref), age(r.Time)})
				}
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	f.register(cmd.Flags(), false)
	return cmd
}
