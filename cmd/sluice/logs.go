package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

// logFlags say what of a log is wanted, and how.
type logFlags struct {
	q                   client.LineQuery
	from                int64
	all, follow         bool
	fixed, times, json  bool
	lines, since, until string
}

func newLogs() *cobra.Command {
	var f logFlags
	cmd := oneBuild("logs", "Print the output of a build",
		"  sluice logs app/12\n  sluice logs app/12 -f\n  sluice logs app/12 --step build/BUILD/0\n  sluice logs app/12 -n 100 --timestamps\n"+
			"  sluice logs app/12 --grep 'FAIL|panic:' -C 3\n  sluice logs app/12 --since 10m --job test",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			picky, err := f.read(cmd)
			if err != nil {
				return err
			}
			out := harmlessTo(cmd.OutOrStdout())
			if picky {
				err = f.printLines(ctx, c, out, project, number)
			} else {
				err = f.printBytes(ctx, c, out, project, number)
			}
			return errors.Join(err, out.Close())
		})
	cmd.Long = `Logs prints what the commands of a build printed, and nothing else. A terminal gets
the text with its colours; whatever else in it would control the terminal is left
out. A file or a pipe gets every byte.`
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVarP(&f.follow, "follow", "f", false, "go on until the build is done")
	fs.BoolVar(&f.all, "all", false, "also headings, and what Sluice itself did")
	fs.StringVar(&f.q.Step, "step", "", "of one step only, by its `PATH`: build/BUILD/0 is the first command of phase BUILD of job build")
	fs.StringVar(&f.q.Job, "job", "", "of one job only")
	fs.Int64VarP(&f.q.Last, "last", "n", 0, "the last `LINES`")
	fs.StringVar(&f.lines, "lines", "", "these `LINES` of the step, such as 100-200, 100- or 100")
	fs.StringVar(&f.since, "since", "", "that came at a `TIME` or later: 10m (ago), 15:04, or 2006-01-02T15:04:05Z")
	fs.StringVar(&f.until, "until", "", "that came before a `TIME`")
	fs.StringVar(&f.q.Grep, "grep", "", "that match a regular `EXPRESSION` (RE2)")
	fs.BoolVarP(&f.fixed, "fixed", "F", false, "--grep is a text and no expression")
	fs.BoolVarP(&f.q.IgnoreCase, "ignore-case", "i", false, "--grep does not tell small letters from big ones")
	fs.BoolVarP(&f.q.Invert, "invert", "v", false, "that do not match --grep")
	fs.IntVarP(&f.q.Context, "context", "C", 0, "with so many `LINES` before and behind each that matches")
	fs.BoolVar(&f.q.Count, "count", false, "only how many there are")
	fs.BoolVar(&f.times, "timestamps", false, "with the time at which each line came")
	fs.BoolVar(&f.json, "json", false, "print each line as a JSON object")
	fs.Int64Var(&f.from, "from", 0, "from this byte on")
	return cmd
}

// read brings the flags together. picky says that single lines are wanted.
func (f *logFlags) read(cmd *cobra.Command) (picky bool, err error) {
	for _, name := range []string{"last", "lines", "since", "until", "grep", "fixed", "ignore-case", "invert", "context", "count", "timestamps", "json", "job"} {
		picky = picky || cmd.Flags().Changed(name)
	}
	if !picky {
		return false, nil
	}
	for _, name := range []string{"all", "from"} {
		if cmd.Flags().Changed(name) {
			return true, usagef("--%s is for the whole log: leave it out where lines are chosen or shown one by one", name)
		}
	}
	now := time.Now()
	if f.q.Since, err = timeFlag("since", f.since, now); err != nil {
		return true, err
	}
	if f.q.Until, err = timeFlag("until", f.until, now); err != nil {
		return true, err
	}
	if f.lines != "" {
		if f.q.From, f.q.To, err = lineRange(f.lines); err != nil {
			return true, err
		}
	}
	if f.follow && (f.q.To > 0 || f.until != "" || f.q.Count) {
		return true, usagef("--follow goes on until the build is done: leave out --until, --count and the end of --lines")
	}
	if f.q.Grep == "" && (f.fixed || f.q.IgnoreCase || f.q.Invert || f.q.Context > 0) {
		return true, usagef("--fixed, --ignore-case, --invert and --context need --grep")
	}
	f.q.Regexp = f.q.Grep != "" && !f.fixed
	return true, nil
}

// timeFlag reads a time: how long ago, a time of today, or a date.
func timeFlag(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d.Abs()), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 1e5 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	for _, form := range []string{"15:04", time.TimeOnly} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	for _, form := range []string{time.RFC3339Nano, time.DateTime, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--%s %q: want how long ago (90s, 10m, 2h, 3d), a time of today (15:04) or a date (2006-01-02, 2006-01-02T15:04:05Z)", name, text)
}

// lineRange reads "100-200", "100-" and "100".
func lineRange(text string) (from, to int64, err error) {
	first, last, isRange := strings.Cut(text, "-")
	from, err = strconv.ParseInt(first, 10, 64)
	if to = from; err == nil && isRange {
		if to = 0; last != "" {
			to, err = strconv.ParseInt(last, 10, 64)
		}
	}
	if err != nil || from < 1 || to != 0 && to < from {
		return 0, 0, usagef("--lines %q: want the first and the last, counted from 1, such as 100-200, 100- or 100", text)
	}
	return from, to, nil
}

// printBytes prints the log as it is.
func (f *logFlags) printBytes(ctx context.Context, c *client.Client, out io.Writer, project string, number int64) error {
	var log io.ReadCloser
	var err error
	o := client.LogOptions{From: f.from, Follow: f.follow, All: f.all}
	if f.q.Step != "" {
		log, err = c.StepLog(ctx, project, number, f.q.Step, o)
	} else {
		log, err = c.Log(ctx, project, number, o)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, log)
	return errors.Join(err, log.Close())
}

// printLines prints lines one by one.
func (f *logFlags) printLines(ctx context.Context, c *client.Client, w io.Writer, project string, number int64) error {
	out := bufio.NewWriterSize(w, 64<<10)
	last := client.LogLine{}
	show := func(l client.LogLine) error {
		apart := f.q.Context > 0 && last.Step != "" && (last.Step != l.Step || last.Line+1 < l.Line)
		joined := last.Cut && last.Step == l.Step && last.Line == l.Line
		if last.Cut && !joined && !f.json {
			_ = out.WriteByte('\n') // a bufio.Writer keeps its error
		}
		err := f.show(out, l, apart, joined)
		last = l
		return err
	}
	defer func() {
		if last.Cut && !f.json {
			_ = out.WriteByte('\n')
			_ = out.Flush()
		}
	}()
	if f.follow {
		err := c.FollowLines(ctx, project, number, f.q, func(l client.LogLine) error {
			return errors.Join(show(l), out.Flush())
		})
		return err
	}
	var matches int64
	for {
		page, err := c.Lines(ctx, project, number, f.q)
		if err != nil {
			return err
		}
		matches += page.Matches
		for _, l := range page.Items {
			if err := show(l); err != nil {
				return err
			}
		}
		if f.q.After = page.Next; f.q.After == "" {
			break
		}
	}
	if f.q.Count {
		fmt.Fprintln(out, matches)
	}
	return out.Flush()
}

// show prints one line. apart says that it does not follow on the one before, and
// joined that it goes on where that one was cut.
func (f *logFlags) show(out io.Writer, l client.LogLine, apart, joined bool) error {
	if f.json {
		text, err := json.Marshal(l)
		if err == nil {
			_, err = out.Write(append(text, '\n'))
		}
		return err
	}
	text := l.Text
	if !l.Cut {
		text += "\n"
	}
	if f.times && !joined {
		text = l.Time.UTC().Format("2006-01-02T15:04:05.000Z") + "  " + text
	}
	if apart {
		text = "--\n" + text
	}
	_, err := io.WriteString(out, text)
	return err
}
