package ci_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	r, err := ci.ParseRetention("builds=100, days=90,artifact-days=30,log-days=all")
	if want := (ci.Retention{Builds: 100, Days: 90, ArtifactDays: 30, LogDays: -1}); err != nil || r != want {
		t.Errorf("got %+v, %v; want %+v", r, err, want)
	}
	all := r.Over(ci.Retention{Days: 1, LogDays: 7, LogBuilds: 20})
	for part, want := range map[string][2]int{ci.PartBuild: {100, 90}, ci.PartArtifacts: {0, 30}, ci.PartLogs: {20, 0}} {
		if n, days := all.Limit(part); n != want[0] || days != want[1] {
			t.Errorf("%s: got %d builds, %d days, want %v", part, n, days, want)
		}
	}
	_, err = ci.ParseRetention("builds=0,weeks=3,days=x,days=3")
	if !errors.Is(err, ci.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"builds=0: want a number", `no limit "weeks"`, "days=x", "days is there twice"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
	if err := (ci.Retention{Days: -2, LogBuilds: 1 << 40}).Check(); err == nil || !strings.Contains(err.Error(), "days is -2") || !strings.Contains(err.Error(), "log-builds") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseRetention(f *testing.F) {
	f.Add("builds=100,days=90")
	f.Add("log-days=all, ,artifact-builds= 7")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ci.ParseRetention(text)
		if err != nil {
			return
		}
		if again, err := ci.ParseRetention(r.String()); err != nil || again != r || r.Check() != nil {
			t.Fatalf("%q: %+v is written %q, which reads as %+v, %v", text, r, r.String(), again, err)
		}
	})
}
