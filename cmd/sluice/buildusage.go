package main

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
)

// showJobs lists the jobs of a build and what they were metered with, then the
// commands that ended and what each took.
func showJobs(w io.Writer, b client.Build) error {
	if len(b.Jobs) == 0 {
		return nil
	}
	rows := [][]string{{"", "JOB", "STATUS", "REASON", "COMMANDS", "MINUTES", "COST"}}
	used := [][]string{{"", "STEP", "COMMAND", "TOOK", "CPU", "PEAK CPUS", "MEMORY", "READ", "WRITTEN", "RECEIVED", "SENT"}}
	for _, j := range jobTree(b.Jobs) {
		commands := 0
		for _, s := range j.Steps {
			if s.Kind != "command" {
				continue
			}
			commands++
			if s.Exit != nil {
				used = append(used, append([]string{"", strings.TrimPrefix(s.ID, b.ID+"/"), short(s.Title), show.Duration(s.Ended.Sub(s.Started))}, resources(s.Exit.Usage)...))
			}
		}
		var billed, cost string
		if j.Charge != nil {
			billed = minutes(float64(j.Charge.Billed) / 60)
			if j.Charge.Currency != "" {
				cost = money(j.Charge.Cost, j.Charge.Currency)
			}
		}
		rows = append(rows, []string{"", j.label, j.Status, j.Reason, strconv.Itoa(commands), billed, cost})
	}
	if err := table(w, rows); err != nil || len(used) == 1 {
		return err
	}
	return table(w, used)
}

// short is the first line of a command, or the beginning of it.
func short(title string) string {
	title, _, _ = strings.Cut(strings.TrimSpace(title), "\n")
	const most = 40
	if r := []rune(title); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return title
}

// resources are the cells about what a command took; "-" is nothing, or not measured.
func resources(u client.Usage) []string {
	bytes := func(n int64) string {
		if n == 0 {
			return "-"
		}
		return show.Bytes(n)
	}
	cpus := "-"
	if u.PeakCPUs > 0 {
		cpus = strconv.FormatFloat(u.PeakCPUs, 'f', 1, 64)
	}
	return []string{
		show.Duration(time.Duration(u.CPUSeconds * float64(time.Second))), cpus, bytes(u.PeakMemory),
		bytes(u.DiskRead), bytes(u.DiskWritten), bytes(u.NetIn), bytes(u.NetOut),
	}
}
