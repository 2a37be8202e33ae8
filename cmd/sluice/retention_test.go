package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRetentionCommand has four builds of which two are kept, and all artifacts of
// one in a file.
func TestRetentionCommand(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data, "--retention", "log-days=30")
	s.project("app", `["echo built; echo kept > out.txt"]`, "artifacts: {files: [out.txt]}")
	for range 4 {
		s.must("build", "start", "app", "--follow")
	}
	want := "app keeps builds=2,log-days=30\nGOES       OF BUILDS  NUMBERS\nbuild      2          1-2\nartifacts  0\nlogs       0\n"
	if out := s.must("project", "retention", "app", "--set", "builds=2"); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if out := s.must("project", "retention", "app", "--apply"); !strings.Contains(out, "WENT") || !strings.Contains(out, "1-2") {
		t.Errorf("got %q", out)
	}
	if out := s.must("build", "list", "--project", "app"); strings.Contains(out, "app/2 ") || !strings.Contains(out, "app/3 ") {
		t.Errorf("left: %s", out)
	}
	for _, dir := range []string{"logs", "builds"} {
		if left, _ := filepath.Glob(filepath.Join(data, dir, "0*")); len(left) > 2 {
			t.Errorf("%s: %d builds are left", dir, len(left))
		}
	}
	if out := s.must("audit", "--project", "app"); !strings.Contains(out, "build.expire") {
		t.Errorf("the audit: %s", out)
	}
	for text, args := range map[string][]string{
		"no limit \"weeks\"": {"--set", "weeks=2"}, "exclude each other": {"--dry-run", "--apply"},
	} {
		if _, errs, code := s.run(append([]string{"project", "retention", "app"}, args...)...); code != exitUsage || !strings.Contains(errs, text) {
			t.Errorf("%v: exit %d, %q; want %q", args, code, errs, text)
		}
	}
	dir := t.TempDir()
	s.must("artifact", "get", "app/4", "--all", "--output", dir)
	z, err := zip.OpenReader(filepath.Join(dir, "app-4.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	if len(z.File) != 1 || !strings.HasPrefix(z.File[0].Name, "build/") {
		t.Errorf("got %v", z.File)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
}
