package buildspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// checkGraph refuses dependencies that no order of builds can satisfy. The
// tasks keep only dependencies that exist.
func (r *reader) checkGraph(tasks []task) {
	const where = "batch.build-graph"
	at := make(map[string]int, len(tasks))
	ids := make([]string, len(tasks))
	for i, t := range tasks {
		at[t.id], ids[i] = i, t.id
	}
	for i := range tasks {
		var known []item
		for _, need := range tasks[i].needs {
			_, ok := at[need.text]
			switch {
			case !ok && r.full(ci.Error):
			case !ok:
				hint := "add it, or remove it from depend-on"
				if meant := nearest(need.text, ids); meant != "" {
					hint = "did you mean " + meant + "?"
				}
				r.errorf(need.node, "%s: %s depends on %s, and no build has this identifier: %s", where, tasks[i].id, quote(need.text), hint)
			case slices.ContainsFunc(known, func(o item) bool { return o.text == need.text }):
				r.warnf(need.node, "%s: %s depends on %s twice", where, tasks[i].id, need.text)
			default:
				known = append(known, need)
			}
		}
		tasks[i].needs = known
	}
	r.checkCycles(tasks, at)
}

// checkCycles notes each cycle once, at the dependency that closes it.
func (r *reader) checkCycles(tasks []task, at map[string]int) {
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(tasks))
	var path []string
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		path = append(path, tasks[i].id)
		for _, need := range tasks[i].needs {
			switch j := at[need.text]; state[j] {
			case unseen:
				visit(j)
			case open:
				from := slices.Index(path, need.text)
				cycle := append(slices.Clone(path[from:]), need.text)
				r.errorf(need.node, "batch.build-graph: the builds wait for each other: %s: remove one of these dependencies", shorten(cycle))
			}
		}
		path = path[:len(path)-1]
		state[i] = done
	}
	for i := range tasks {
		if state[i] == unseen {
			visit(i)
		}
	}
}

func shorten(cycle []string) string {
	if n := len(cycle); n > 10 {
		cycle = append(slices.Clone(cycle[:5]), fmt.Sprintf("(%d more)", n-10), strings.Join(cycle[n-5:], " -> "))
	}
	return strings.Join(cycle, " -> ")
}
