package embedded

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAgent cannot run in parallel: it stands in for what a build embeds.
func TestAgent(t *testing.T) {
	had, hadSum := program, sum
	t.Cleanup(func() { program, sum = had, hadSum })
	dir := filepath.Join(t.TempDir(), "home")
	if program = nil; Agent(dir) != "" {
		t.Error("a binary that carries no program names one")
	}
	program, sum = []byte("first"), "0123456789abcdef-and-more"
	path := Agent(dir)
	want := func(text string) {
		t.Helper()
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != text || info.Mode().Perm() != 0o755 {
			t.Errorf("%s holds %q, %v; want %q, executable", path, got, err, text)
		}
	}
	want("first")
	if err := os.WriteFile(path, []byte("cut"), 0o755); err != nil {
		t.Fatal(err)
	}
	if again := Agent(dir); again != path {
		t.Errorf("got %q, want %q again", again, path)
	}
	want("first")

	ages := map[string]time.Duration{path: 2 * unused}
	for name, age := range map[string]time.Duration{"agent-in-use": unused / 2, "agent-forgotten": 2 * unused, "other": 2 * unused} {
		name = filepath.Join(dir, name)
		ages[name] = age
		if err := os.WriteFile(name, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, age := range ages {
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	Agent(dir) // in use again
	program, sum = []byte("second"), "fedcba9876543210"
	first := path
	path = Agent(dir)
	want("second")
	for name, there := range map[string]bool{first: true, filepath.Join(dir, "agent-in-use"): true, filepath.Join(dir, "other"): true, filepath.Join(dir, "agent-forgotten"): false} {
		if _, err := os.Stat(name); (err == nil) != there {
			t.Errorf("%s there: %v, want %v", name, err == nil, there)
		}
	}

	program = []byte("third")
	if got := Agent(filepath.Join(path, "no-folder")); got != "" {
		t.Errorf("below a file: got %q", got)
	}
}
