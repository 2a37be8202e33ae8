package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
)

// topLook is how a load is to be drawn. The zero value is plain text, all of it.
type topLook struct {
	width, height int // 0 = no limit
	colour        bool
	live          bool  // on a screen, over what was there before
	err           error // of the last look
}

// topLine is one line and its colour, "" = none.
type topLine struct{ colour, text string }

// drawTop draws a load. On a screen no line is wider than it and there are no more
// lines than it has: what has no room is counted.
func drawTop(l client.Load, look topLook) string {
	head := topHead(l, look)
	running := topRunning(l)
	waiting := topWaiting(l)
	projects := topProjects(l)
	if look.height > 0 {
		room := look.height - len(head)
		// Projects get a third at most, what waits a third of the rest.
		projects = atMost(projects, max(room/3, 3))
		waiting = atMost(waiting, max((room-len(projects))/3, 3))
		running = atMost(running, max(room-len(projects)-len(waiting), 3))
	}
	lines := append(head, append(running, append(waiting, projects...)...)...)
	for len(lines) > 0 && lines[len(lines)-1].text == "" {
		lines = lines[:len(lines)-1]
	}
	if look.height > 0 && len(lines) > look.height {
		lines = lines[:look.height]
	}
	var b strings.Builder
	for i, line := range lines {
		text := strings.TrimRight(printable(line.text), " ")
		if look.width > 0 {
			text = cut(text, look.width)
		}
		if look.colour && line.colour != "" {
			text = line.colour + text + "\x1b[0m"
		}
		b.WriteString(text)
		if look.live {
			b.WriteString(clearRight)
			if i < len(lines)-1 {
				b.WriteString("\r\n")
			}
		} else {
			b.WriteString("\n")
		}
	}
	if look.live {
		b.WriteString(clearBelow)
	}
	return b.String()
}

const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	dim    = "\x1b[2m"
)

// atMost keeps a heading and as many lines as there is room for, with a word about the rest.
func atMost(lines []topLine, room int) []topLine {
	if len(lines) <= room {
		return lines
	}
	left := len(lines) - room + 1
	return append(lines[:room-1:room-1], topLine{dim, fmt.Sprintf("  … %d more", left)})
}

// cut shortens a line to so many characters.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	r := []rune(text)
	return string(r[:width-1]) + "…"
}

func topHead(l client.Load, look topLook) []topLine {
	title := "sluice " + l.Time.Local().Format("15:04:05") + fmt.Sprintf("   %d running, %d waiting", sumOf(l, func(p client.LoadProject) int { return p.Running }), sumOf(l, func(p client.LoadProject) int { return p.Waiting }))
	if look.live {
		title += "   q quits"
	}
	lines := []topLine{{bold, title}}
	for _, b := range []struct {
		name      string
		used, all float64
		text      string
	}{
		{"CPU", l.Used.CPUs, l.Capacity.CPUs, ratio(number(l.Used.CPUs), number(l.Capacity.CPUs), l.Capacity.CPUs == 0)},
		{"memory", float64(l.Used.Memory), float64(l.Capacity.Memory), ratio(show.Bytes(l.Used.Memory), show.Bytes(l.Capacity.Memory), l.Capacity.Memory == 0)},
	} {
		colour, line := "", fmt.Sprintf("%-7s %s %s", b.name, bar(b.used, b.all), b.text)
		if b.all > 0 && b.used >= 0.95*b.all {
			colour = yellow
		}
		lines = append(lines, topLine{colour, line})
	}
	if o := l.Others; o.Running+o.Waiting > 0 {
		lines = append(lines, topLine{dim, fmt.Sprintf("%d running and %d waiting are of projects that you may not see", o.Running, o.Waiting)})
	}
	if look.err != nil {
		lines = append(lines, topLine{red, "the server does not answer, trying again: " + look.err.Error()})
	}
	return append(lines, topLine{})
}

func sumOf(l client.Load, of func(client.LoadProject) int) int {
	n := of(l.Others)
	for _, p := range l.Projects {
		n += of(p)
	}
	return n
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func ratio(used, all string, unlimited bool) string {
	if unlimited {
		return used + " taken, no limit"
	}
	return used + " of " + all + " taken"
}

// bar is twenty characters that fill up.
func bar(used, all float64) string {
	const length = 20
	full := 0
	if all > 0 {
		full = min(int(used/all*length+0.5), length)
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", length-full) + "]"
}

func topRunning(l client.Load) []topLine {
	rows := [][]string{{"RUNNING", "JOB", "WHERE", "PHASE", "CPUS", "MEMORY", "FOR"}}
	for _, j := range l.Running {
		rows = append(rows, []string{name(j), j.Job, dash(j.Executor), dash(j.Phase), taken(j.Takes.CPUs), takenBytes(j.Takes.Memory), topSpan(l, j)})
	}
	return section(rows, len(l.Running), sumOf(l, func(p client.LoadProject) int { return p.Running })-l.Others.Running)
}

func topWaiting(l client.Load) []topLine {
	if len(l.Waiting) == 0 {
		return nil
	}
	rows := [][]string{{"WAITING", "JOB", "FOR", "SINCE", "WHY"}}
	for _, j := range l.Waiting {
		rows = append(rows, []string{name(j), dash(j.Job), dash(j.For), topSpan(l, j), dash(j.Detail)})
	}
	return section(rows, len(l.Waiting), sumOf(l, func(p client.LoadProject) int { return p.Waiting })-l.Others.Waiting)
}

func topProjects(l client.Load) []topLine {
	if len(l.Projects) == 0 {
		return nil
	}
	rows := [][]string{{"PROJECT", "RUNNING", "WAITING", "CPUS", "MEMORY"}}
	for _, p := range l.Projects {
		cpus, memory := taken(p.Takes.CPUs), takenBytes(p.Takes.Memory)
		if l.Capacity.CPUs > 0 && p.Takes.CPUs > 0 {
			cpus += fmt.Sprintf(" (%.0f%%)", 100*p.Takes.CPUs/l.Capacity.CPUs)
		}
		if l.Capacity.Memory > 0 && p.Takes.Memory > 0 {
			memory += fmt.Sprintf(" (%.0f%%)", 100*float64(p.Takes.Memory)/float64(l.Capacity.Memory))
		}
		rows = append(rows, []string{p.Project, strconv.Itoa(p.Running), strconv.Itoa(p.Waiting), cpus, memory})
	}
	return section(rows, len(l.Projects), len(l.Projects))
}

func name(j client.LoadJob) string { return fmt.Sprintf("%s/%d", j.Project, j.Number) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func taken(cpus float64) string {
	if cpus == 0 {
		return "-"
	}
	return number(cpus)
}

func takenBytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return show.Bytes(n)
}

func topSpan(l client.Load, j client.LoadJob) string {
	return show.Duration(max(l.Time.Sub(j.Since), 0))
}

// section makes lines of rows, the heading dim, with a word about those that were
// not listed and a line of nothing behind it.
func section(rows [][]string, listed, all int) []topLine {
	var b strings.Builder
	_ = table(&b, rows) // a builder takes everything
	var lines []topLine
	for text := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\n"), "\n") {
		line := topLine{text: text}
		if len(lines) == 0 {
			line.colour = bold
		}
		lines = append(lines, line)
	}
	if all > listed {
		lines = append(lines, topLine{dim, fmt.Sprintf("  … %d more", all-listed)})
	}
	return append(lines, topLine{})
}
