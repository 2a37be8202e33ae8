package projects_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestExamples builds the examples of the documentation.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, needs string
		tests, jobs int
		coverage    float64
	}{
		{"go", "go", 4, 0, 50},
		{"python", "python3", 3, 0, 50},
		{"node", "npm", 3, 0, 0},
		{"batch", "tar", 1, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			skipShort(t)
			if _, err := exec.LookPath(c.needs); err != nil {
				t.Skipf("%s is not on this machine: install it", c.needs)
			}
			dir, out := filepath.Join("..", "..", "examples", c.name), t.TempDir()
			args := []string{"run", dir, "--executor", "local", "--output", out, "--cache", t.TempDir()}
			if c.jobs > 0 {
				args = append(args, "--batch")
			}
			r := build(t, os.Environ(), out, args...)
			if r.Status != "succeeded" || len(r.Jobs) != c.jobs || len(r.Artifacts) != 1 {
				t.Errorf("got %s, %d jobs and %d artifacts; want succeeded, %d and 1", r.Status, len(r.Jobs), len(r.Artifacts), c.jobs)
			}
			if r.Tests.Succeeded < c.tests || r.Coverage.LinePercent < c.coverage {
				t.Errorf("got %d tests and %.0f %% covered, want at least %d and %.0f %%", r.Tests.Succeeded, r.Coverage.LinePercent, c.tests, c.coverage)
			}
		})
	}
}
