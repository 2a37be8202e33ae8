package ci_test

import (
	"errors"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestIDsArePaths(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		build := ci.NewBuildID(time.UnixMilli(rapid.Int64Range(0, 1<<45).Draw(t, "ms")))
		name := rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}`).Draw(t, "name")
		attempt := rapid.IntRange(1, 99).Draw(t, "attempt")
		path := rapid.StringMatching(`[A-Z_]+(/[a-z0-9-]+)?`).Draw(t, "path")
		if err := ci.CheckJobName(name); err != nil {
			t.Fatal(err)
		}
		job := build.Job(name, attempt)
		if job.Build() != build || job.Name() != name || job.Attempt() != attempt {
			t.Fatalf("%s: build %s, name %s, attempt %d", job, job.Build(), job.Name(), job.Attempt())
		}
		step := job.Step(path)
		if step.Job() != job || step.Path() != path {
			t.Fatalf("%s: job %s, path %s", step, step.Job(), step.Path())
		}
	})
}

func TestBuildIDsSortByTime(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ids []string
	for i := range 1000 {
		ids = append(ids, string(ci.NewBuildID(start.Add(time.Duration(i)*time.Millisecond))))
	}
	if !sort.StringsAreSorted(ids) {
		t.Error("IDs made one after the other do not sort in that order")
	}
}

func TestJobNamesThatCannotBeIDs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "a/b", "a#2", "..", ".hidden", "-x", "a b", "ä", "a\n"} {
		if err := ci.CheckJobName(name); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("CheckJobName(%q) = %v, want ErrInvalid", name, err)
		}
	}
}
