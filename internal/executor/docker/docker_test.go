package docker

import (
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestFirstLook is what every container has, on every engine.
func TestFirstLook(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		p := ci.Placement{Job: "b1/look", Runtime: ci.Runtime{Image: busybox(t, e)}}
		s, err := e.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Fresh() {
			t.Error("the first Open is not fresh")
		}
		text, x := output(t, s, ci.Command{ID: "b1/look/BUILD/0", Shell: "sh", Script: `
			id -u; pwd; echo $HOME; echo $FROM_IMAGE; stat -c %a /tmp; codebuild-hash-files; command -v sluice; exit 3`})
		want := "0\n/codebuild/output/src/src\n/root\nyes\n1777\ntool codebuild-hash-files\n/codebuild/bin/sluice\n"
		if text != want || x.Code != 3 {
			t.Errorf("got %q, exit %d; want %q, exit 3", text, x.Code, want)
		}
		again, err := e.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if again.Fresh() {
			t.Error("the second Open is fresh")
		}
		if a, b := again.Placed(), s.Placed(); !strings.HasPrefix(a.Digest, "sha256:") || a.Digest != b.Digest || a.Isolation != b.Isolation {
			t.Errorf("placed %+v, then %+v", b, a)
		}
		if err := again.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
