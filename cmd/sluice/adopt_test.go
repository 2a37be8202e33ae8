package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTakenOverArtifactsStay deletes the build that they were made by.
func TestTakenOverArtifactsStay(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.must("project", "create", "app", "--source", "upload", "--isolation", "none")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"buildspec.yml": "version: 0.2\nbatch:\n  fast-fail: false\n  build-list:\n    - {identifier: pack, buildspec: pack.yml}\n    - {identifier: fail, buildspec: fail.yml}\n",
		"pack.yml":      "version: 0.2\nphases: {build: {commands: ['echo packed > out.txt']}}\nartifacts: {files: [out.txt], name: pack}\n",
		"fail.yml":      "version: 0.2\nphases: {build: {commands: ['exit 1']}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, errs, code := s.run("run", "--remote", "--project", "app", "--batch", dir); code != exitFailed {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if _, errs, code := s.run("build", "retry", "app/1", "--failed", "--follow"); code != exitFailed {
		t.Fatalf("exit %d: %s", code, errs)
	}
	s.must("build", "delete", "app/1")
	if out := s.must("artifact", "list", "app/2"); !strings.Contains(out, "pack") {
		t.Errorf("got %s", out)
	}
	to := t.TempDir()
	s.must("artifact", "get", "app/2", "--output", to)
	found := false
	err := filepath.WalkDir(to, func(path string, _ os.DirEntry, err error) error {
		found = found || strings.Contains(filepath.Base(path), "pack")
		return err
	})
	if err != nil || !found {
		t.Errorf("nothing was downloaded: %v", err)
	}
	if _, errs, code := s.run("build", "retry", "app/2", "--from", "fail/BUILD"); code != exitUsage || !strings.Contains(errs, "name the job alone") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
