package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// TestPasswordParameter gives a build a password: its commands have it, nobody
// reads it anywhere.
func TestPasswordParameter(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	s.project("app", `['test ${#KEY} = 14 && echo "it is $KEY for $WHO"']`)
	p, err := s.client().Project(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	p.Parameters = []client.Parameter{{Name: "KEY", Type: "password", Required: true}, {Name: "WHO", Default: "you"}}
	if _, err := s.client().UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hunter2 sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, args := range [][]string{{"start", "app", "--param", "KEY=@" + file, "--param", "WHO=me"}, {"retry", "app/1"}} {
		out, errs, code := s.run(append(append([]string{"build"}, args...), "--follow")...)
		if code != exitOK || out != "it is *** for me\n" {
			t.Errorf("%d: exit %d, %q, %s", n, code, out, errs)
		}
	}
	s.stop()
	err = filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("the password is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(s.said(), "hunter2") {
		t.Error("the password is in the server's log")
	}
}
