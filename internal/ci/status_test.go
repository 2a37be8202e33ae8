package ci_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestDoneIsFinal(t *testing.T) {
	t.Parallel()
	for _, s := range ci.Statuses() {
		if s.Done() != (len(ci.Next(s)) == 0) {
			t.Errorf("%s: Done() is %v, but Next() is %v", s, s.Done(), ci.Next(s))
		}
	}
}

// From every status that can be reached, an end can be reached: nothing hangs
// for ever.
func TestEveryStatusReachesAnEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := ci.Queued
		for range rapid.IntRange(0, 8).Draw(t, "moves") {
			if s.Done() {
				break
			}
			s = rapid.SampledFrom(ci.Next(s)).Draw(t, "next")
		}
		seen := map[ci.Status]bool{}
		queue := []ci.Status{s}
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			if at.Done() {
				return
			}
			if !seen[at] {
				seen[at] = true
				queue = append(queue, ci.Next(at)...)
			}
		}
		t.Fatalf("no end can be reached from %s", s)
	})
}

func TestWorst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parts []ci.Status
		want  ci.Status
	}{
		{nil, ci.Succeeded},
		{[]ci.Status{ci.Skipped}, ci.Succeeded},
		{[]ci.Status{ci.Succeeded, ci.Unstable}, ci.Unstable},
		{[]ci.Status{ci.Failed, ci.Unstable, ci.Skipped}, ci.Failed},
		{[]ci.Status{ci.TimedOut, ci.Failed}, ci.TimedOut},
		{[]ci.Status{ci.Errored, ci.Canceled, ci.Failed}, ci.Errored},
	} {
		if got := ci.Worst(c.parts...); got != c.want {
			t.Errorf("Worst(%v) = %s, want %s", c.parts, got, c.want)
		}
	}
}

func TestCodeBuildWords(t *testing.T) {
	t.Parallel()
	for _, s := range ci.Statuses() {
		if got := s.CodeBuild(); (got == "") != (s == ci.Skipped) {
			t.Errorf("%s has the word %q; only skipped has none", s, got)
		}
	}
}
