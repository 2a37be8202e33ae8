package main

import (
	"strings"

	"github.com/sluice-ci/sluice/client"
)

// treeJob is a job and its name as a line of a tree.
type treeJob struct {
	client.Job
	label string
}

// jobTree puts jobs below those that they need. One that needs several stands
// below the first, and names the others.
func jobTree(jobs []client.Job) []treeJob {
	last := map[string]int{} // the last attempt counts
	for i, j := range jobs {
		last[j.Name] = i
	}
	below := map[int][]int{}
	var tops []int
	for i, j := range jobs {
		up := -1
		for _, n := range j.Needs {
			if at, ok := last[n]; ok && at != i {
				up = at
				break
			}
		}
		if up < 0 {
			tops = append(tops, i)
		} else {
			below[up] = append(below[up], i)
		}
	}
	var out []treeJob
	shown := make([]bool, len(jobs))
	var show func(list []int, before string, top bool)
	show = func(list []int, before string, top bool) {
		for k, i := range list {
			if shown[i] {
				continue
			}
			shown[i] = true
			mark, rest := "├─ ", "│  "
			if k == len(list)-1 {
				mark, rest = "└─ ", "   "
			}
			if top {
				mark, rest = "", ""
			}
			j := jobs[i]
			label := before + mark + j.Name
			if len(j.Needs) > 1 {
				label += " (also after " + strings.Join(j.Needs[1:], ", ") + ")"
			}
			out = append(out, treeJob{j, label})
			show(below[i], before+rest, false)
		}
	}
	show(tops, "", true)
	for i := range jobs { // of a circle, which no plan has
		show([]int{i}, "", true)
	}
	return out
}
