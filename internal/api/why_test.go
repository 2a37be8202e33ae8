package api_test

import (
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

func TestWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	w.start("web", client.StartBuild{Inline: "version: 0.2\nphases: 7\n"})
	w.done("web", 2)
	if _, _, err := w.admin.RetryBuild(t.Context(), "web", 1, client.RetryOptions{}); err != nil {
		t.Fatal(err)
	}
	w.done("web", 3)
	for number, want := range map[int64][]string{
		1: {"asked: asked for by admin", "started: begun: source ", "started: begun at once", "ended: ended: succeeded", "ended: ended: succeeded"},
		2: {"asked: asked for by admin", "refused: not begun: failed: the definition does not compile; buildspec.yml:2:"},
		3: {"asked: asked for by admin", "retry: does build ", "started: begun: ", "started: begun at once", "ended: ended: succeeded", "ended: ended: succeeded"},
	} {
		list, err := w.admin.Why(t.Context(), "web", number)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, b := range list {
			got = append(got, b.What+": "+b.Text)
			if b.Seq == 0 || b.Time.IsZero() || i > 0 && b.Seq < list[i-1].Seq {
				t.Errorf("build %d: %+v is out of order", number, b)
			}
		}
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			t.Errorf("build %d:\n got %s\nwant %s", number, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}
