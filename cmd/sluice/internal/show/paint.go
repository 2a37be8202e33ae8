package show

import (
	"os"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Colours of the terminal's own palette, so that they suit its background.
const (
	reset   = "\x1b[0m"
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	magenta = "\x1b[35m"
	cyan    = "\x1b[36m"
)

func (t *Text) paint(colour, text string) string {
	if !t.look.Colour || colour == "" || text == "" {
		return text
	}
	return colour + text + reset
}

func statusColour(s ci.Status) string {
	switch s {
	case ci.Succeeded:
		return green
	case ci.Unstable, ci.Skipped, ci.Canceled:
		return yellow
	case ci.Failed, ci.Errored, ci.TimedOut:
		return red
	}
	return ""
}

func tagColour(n int) string {
	colours := [...]string{cyan, magenta, yellow, green}
	return colours[n%len(colours)]
}

func (t *Text) problem(p ci.Problem) string {
	colour := yellow
	if p.Severity == ci.Error {
		colour = red
	}
	return t.paint(bold, p.Pos.String()+": ") + t.paint(colour, string(p.Severity)+": ") + printable(p.Message)
}

// Colours says whether to use colours: never with NO_COLOR or a terminal that
// has none, always with CLICOLOR_FORCE, else on a terminal.
func Colours(terminal bool, env func(string) (string, bool)) bool {
	if v, ok := env("NO_COLOR"); ok && v != "" {
		return false
	}
	if v, ok := env("CLICOLOR_FORCE"); ok && v != "" && v != "0" {
		return true
	}
	if v, ok := env("CLICOLOR"); ok && v == "0" {
		return false
	}
	term, ok := env("TERM")
	return terminal && ok && term != "" && term != "dumb"
}

// Environment is the process's, for Colours.
func Environment(name string) (string, bool) { return os.LookupEnv(name) }
