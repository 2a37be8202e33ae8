package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

// auditFlags are those of audit.
type auditFlags struct {
	client.AuditFilter
	since, until string
	limit        int
	json, csv    bool
}

func newAudit() *cobra.Command {
	var r remote
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who did what on a server, when and from where", Args: cobra.NoArgs,
		Long: `Audit lists changes, logins and the uses of secrets, the newest first. It is for
administrators of the server; with --project also for those of the project.`,
		Example: `  sluice audit --since 24h
  sluice audit --user ann --verb build.start
  sluice audit --project app --verb project --json
  sluice audit --since 2026-11-01 --until 2026-12-01 --limit 0 --csv > november.csv`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if err := f.check(time.Now()); err != nil {
				return err
			}
			wanted := f.limit
			if wanted == 0 {
				wanted = 1 << 30
			}
			all, err := pages(wanted, func(p client.Paging) (client.Page[client.AuditEntry], error) {
				f.Paging = p
				return c.Audit(ctx, f.AuditFilter)
			})
			switch {
			case err != nil:
				return err
			case f.json:
				return writeJSON(cmd, all)
			case f.csv:
				return auditCSV(cmd.OutOrStdout(), all)
			}
			return auditTable(cmd.OutOrStdout(), all)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.User, "user", "", "what the user `NAME` did")
	fs.StringVar(&f.Project, "project", "", "what was done in the project `NAME`")
	fs.StringVar(&f.Verb, "verb", "", "`WHAT` was done: project.delete, or project for all that is done to projects")
	fs.StringVar(&f.since, "since", "", "done `WHEN` or later: a time ago such as 24h or 30d, a day such as 2026-11-01, or 2026-11-01T12:00:00Z")
	fs.StringVar(&f.until, "until", "", "done before `WHEN`, in the same forms")
	fs.IntVar(&f.limit, "limit", 50, "how many; 0 = all")
	fs.BoolVar(&f.json, "json", false, "print them as JSON")
	fs.BoolVar(&f.csv, "csv", false, "print them as CSV, with a line of titles")
	r.register(fs)
	return cmd
}

// check reads the times, and says all that is wrong.
func (f *auditFlags) check(now time.Time) error {
	var wrong []error
	for _, c := range []struct {
		name, text string
		into       *time.Time
	}{{"since", f.since, &f.Since}, {"until", f.until, &f.Until}} {
		if c.text == "" {
			continue
		}
		at, err := moment(c.text, now)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--%s %w", c.name, err))
		}
		*c.into = at
	}
	if f.limit < 0 {
		wrong = append(wrong, fmt.Errorf("--limit %d: want a number, 0 or more", f.limit))
	}
	if f.json && f.csv {
		wrong = append(wrong, errors.New("--json and --csv: want one of them"))
	}
	if len(wrong) > 0 {
		return &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return nil
}

// moment reads a time: how long ago it was, in Go's units or days, a day of the
// local calendar, or RFC 3339.
func moment(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return at, nil
	}
	d, err := days(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q: want a time ago such as 24h or 30d, a day such as 2026-11-01, or 2026-11-01T12:00:00Z", text)
	}
	return now.Add(-d), nil
}

// days reads a duration as Go does, or whole days as in 30d.
func days(text string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(text, "d"); ok {
		count, err := strconv.ParseInt(n, 10, 32)
		if err != nil || count < 0 || count > 100*366 {
			return 0, fmt.Errorf("%q: want a number of days, such as 30d", text)
		}
		return time.Duration(count) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

func auditTable(w io.Writer, all []client.AuditEntry) error {
	rows := [][]string{{"TIME", "USER", "WHAT", "PROJECT", "FROM", "DETAIL"}}
	for _, e := range all {
		rows = append(rows, []string{e.Time.Local().Format(time.DateTime), orDash(e.User), e.Verb, orDash(e.Project), orDash(e.Address), e.Detail})
	}
	return table(w, rows)
}

func auditCSV(w io.Writer, all []client.AuditEntry) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"id", "time", "user", "verb", "project", "build", "detail", "address", "token", "request"}) // Error tells
	for _, e := range all {
		_ = c.Write([]string{
			strconv.FormatInt(e.ID, 10), e.Time.UTC().Format(time.RFC3339Nano), cell(e.User), e.Verb, cell(e.Project), e.Build, cell(e.Detail), e.Address, e.Token, e.Request,
		})
	}
	c.Flush()
	return c.Error()
}

// cell keeps a spreadsheet from taking what others wrote for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
