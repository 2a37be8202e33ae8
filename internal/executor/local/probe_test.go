package local

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	r := New(Config{Root: root}).Probe(t.Context())
	for _, level := range levels(t) {
		if !slices.Contains(r.Isolation, level) {
			t.Errorf("isolation %v lacks %s", r.Isolation, level)
		}
	}
	if !strings.HasPrefix(r.Placed, Sandboxed+": ") {
		t.Errorf("placed %q", r.Placed)
	}
	names := map[string]bool{}
	for _, f := range r.Findings {
		t.Logf("%+v", f)
		names[f.Name] = true
		if f.Note == "" || !f.OK && f.Todo == "" {
			t.Errorf("a finding without a note, or without what to do: %+v", f)
		}
	}
	for _, want := range []string{"kernel", "user namespaces", "cgroups", "overlayfs", "seccomp", "isolation gvisor"} {
		if !names[want] {
			t.Errorf("nothing said of %s", want)
		}
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("probing left %v", left)
	}
}
