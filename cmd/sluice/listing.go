package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// wideMark is what the heading of a column begins with that only -o wide shows.
const wideMark = "+"

// wideOut is an output whose tables have all their columns.
type wideOut struct{ io.Writer }

// shownColumns leaves out the columns that are for -o wide, unless w wants them.
func shownColumns(w io.Writer, rows [][]string) [][]string {
	if len(rows) == 0 {
		return rows
	}
	_, wide := w.(wideOut)
	shown := make([][]string, len(rows))
	for i, heading := range rows[0] {
		bare, extra := strings.CutPrefix(heading, wideMark)
		if extra && !wide {
			continue
		}
		for k, row := range rows {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			if k == 0 {
				cell = bare
			}
			shown[k] = append(shown[k], cell)
		}
	}
	return shown
}

// isListing says whether a command prints a list of what a server has: it can do
// so as JSON, and knows its server.
func isListing(cmd *cobra.Command) bool {
	asJSON := cmd.Flags().Lookup("json")
	return cmd.RunE != nil && asJSON != nil && strings.HasPrefix(asJSON.Usage, "print them as JSON") &&
		cmd.Flags().Lookup("server") != nil && cmd.Flags().Lookup("format") == nil && cmd.Flags().ShorthandLookup("o") == nil
}

// listings gives all lists below a command the flags that lists have in common.
func listings(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		listings(sub)
	}
	if !isListing(cmd) {
		return
	}
	var format string
	var watch bool
	var every time.Duration
	run := cmd.RunE
	fs := cmd.Flags()
	fs.StringVarP(&format, "format", "o", "table", "print a table, or wide: one with all columns, or json")
	if fs.Lookup("watch") == nil {
		fs.BoolVar(&watch, "watch", false, "go on and show what changes: in place on a terminal, else each line that is new")
		fs.DurationVar(&every, "interval", 2*time.Second, "how often --watch looks")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch format {
		case "table":
		case "wide":
			cmd.SetOut(wideOut{cmd.OutOrStdout()})
		case "json":
			if err := fs.Set("json", "true"); err != nil {
				return err
			}
		default:
			return usagef("-o %q: want table, wide or json", format)
		}
		if !watch {
			return run(cmd, args)
		}
		if every < 100*time.Millisecond {
			return usagef("--interval %v: want 100ms or more", every)
		}
		return watchList(cmd, args, every, run)
	}
}

// watchList runs a list again and again, and shows what changed, until it is
// interrupted. A look that fails ends it, when it is the first; later ones are
// said and tried again.
func watchList(cmd *cobra.Command, args []string, every time.Duration, run func(*cobra.Command, []string) error) error {
	ctx, undo := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer undo()
	cmd.SetContext(ctx)
	out := cmd.OutOrStdout()
	wide, isWide := out.(wideOut)
	if isWide {
		out = wide.Writer
	}
	screen := newWatchScreen(out)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		var text bytes.Buffer
		var to io.Writer = &text
		if isWide {
			to = wideOut{&text}
		}
		cmd.SetOut(to)
		err := run(cmd, args)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || errors.Is(err, context.Canceled)):
			return err
		case err != nil:
			err = screen.note(err)
		default:
			err = screen.show(text.String())
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watchScreen shows a text that changes.
type watchScreen struct {
	out    io.Writer
	height func() int // lines of the terminal; nil = it is none
	shown  string
	lines  int // that are on the terminal
	said   string
}

func newWatchScreen(out io.Writer) *watchScreen {
	s := &watchScreen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		s.height = func() int {
			_, h, err := term.GetSize(int(f.Fd()))
			if err != nil || h < 2 {
				return 24
			}
			return h
		}
	}
	return s
}

// show puts the text in the place of the one before. Where that cannot be, it
// prints the lines that were not in the one before.
func (s *watchScreen) show(text string) error {
	if text == s.shown && s.said == "" {
		return nil
	}
	before := s.shown
	s.shown, s.said = text, ""
	if s.height == nil {
		old := map[string]int{}
		for line := range strings.Lines(before) {
			old[line]++
		}
		var changed strings.Builder
		for line := range strings.Lines(text) {
			if old[line]--; old[line] < 0 {
				changed.WriteString(line)
			}
		}
		_, err := io.WriteString(s.out, changed.String())
		return err
	}
	return s.draw(text)
}

// draw writes over what is on the terminal, as many lines as it has.
func (s *watchScreen) draw(text string) error {
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines)
	}
	b.WriteString("\r\x1b[J")
	s.lines = 0
	for line := range strings.Lines(text) {
		if s.lines == s.height()-1 {
			break
		}
		// A line that is longer than the terminal is wide would take two.
		b.WriteString("\x1b[?7l" + strings.TrimSuffix(line, "\n") + "\x1b[?7h\n")
		s.lines++
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

// note says that a look failed, once for each error.
func (s *watchScreen) note(err error) error {
	text := "sluice: " + printable(err.Error()) + "; trying again\n"
	if text == s.said {
		return nil
	}
	s.said = text
	if s.height == nil {
		_, err := io.WriteString(os.Stderr, text)
		return err
	}
	return s.draw(text + s.shown)
}
