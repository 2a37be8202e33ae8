package show

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Duration is a length of time as people say it: 0.03s, 12.3s, 4m05s, 1h02m.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0.00s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

// Bytes is a size as people say it, in powers of 1000 as disks are sold.
func Bytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1000, 0
	for v >= 999.95 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	return fmt.Sprintf("%.1f %cB", v, units[u])
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// verdict is a final status in words.
func verdict(s ci.Status) string {
	switch s {
	case ci.Failed:
		return "failed"
	case ci.Errored:
		return "broke"
	case ci.TimedOut:
		return "timed out"
	case ci.Canceled:
		return "canceled"
	case ci.Skipped:
		return "skipped"
	case ci.Unstable:
		return "unstable"
	case ci.Succeeded:
		return "succeeded"
	}
	return string(s)
}

// fit cuts a text to a number of columns, counting a character as one, and makes
// it safe to put into a line of ours: no control characters.
func fit(text string, width int) string {
	text = oneLine(text)
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	if width == 1 {
		return "…"
	}
	runes := []rune(text)
	return strings.TrimRight(string(runes[:width-1]), " ") + "…"
}

// oneLine turns a text into one line without control characters.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}

// printable drops control characters from a line that did not come from a step's
// output, but keeps its spacing.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, line)
}
