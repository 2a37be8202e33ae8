package ci_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestRecordOfRuns tells newly failing and flaky tests from others.
func TestRecordOfRuns(t *testing.T) {
	t.Parallel()
	type run struct{ status, commit, ref string }
	const pass, fail, skip = ci.TestSucceeded, ci.TestFailed, ci.TestSkipped
	for _, c := range []struct {
		what  string
		runs  []run
		since int64
		flaky int64
	}{
		{"passes", []run{{pass, "a", "main"}, {pass, "b", "main"}}, 0, 0},
		{"began to fail", []run{{pass, "a", "main"}, {fail, "b", "main"}, {ci.TestError, "c", "main"}}, 2, 0},
		{"failed from the first", []run{{fail, "a", "main"}, {fail, "b", "main"}}, 1, 0},
		{"was mended", []run{{fail, "a", "main"}, {pass, "b", "main"}}, 0, 0},
		{"fails anew", []run{{fail, "a", "main"}, {pass, "b", "main"}, {fail, "c", "main"}}, 3, 0},
		{"flaky", []run{{pass, "a", "main"}, {fail, "a", "main"}}, 2, 1},
		{"flaky, and passes again", []run{{pass, "a", "main"}, {fail, "a", "main"}, {pass, "a", "main"}}, 0, 2},
		{"flaky, other builds between", []run{{fail, "a", "main"}, {pass, "b", "x"}, {pass, "a", "main"}}, 0, 1},
		{"no commit is no other commit", []run{{pass, "", "main"}, {fail, "", "main"}}, 2, 0},
		{"a skip says nothing", []run{{fail, "a", "main"}, {skip, "a", "main"}}, 1, 0},
		{"fails on a branch", []run{{pass, "a", "main"}, {fail, "b", "x"}, {pass, "c", "main"}}, 0, 0},
	} {
		var rec ci.TestRecord
		for i, r := range c.runs {
			rec.Add(ci.TestResult{Number: int64(i + 1), Status: r.status, Commit: r.commit, Ref: r.ref, Duration: time.Duration(i+1) * time.Second, Time: time.Unix(int64(i), 0).UTC()})
		}
		if rec.Since != c.since || rec.Flaky != c.flaky || rec.Runs != int64(len(c.runs)) || rec.Recent[0].Number != rec.Runs {
			t.Errorf("%s: got %+v; want it to fail since %d, flaky %d", c.what, rec, c.since, c.flaky)
		}
	}
	var rec ci.TestRecord
	for i := range 100 {
		rec.Add(ci.TestResult{Number: int64(i), Status: pass, Duration: time.Second, Time: time.Unix(int64(i), 0).UTC()})
	}
	if len(rec.Recent) != ci.RecentRuns || rec.Recent[0].Number != 99 || rec.Mean != time.Second || rec.Runs != 100 {
		t.Errorf("got %d runs, %+v", len(rec.Recent), rec.Recent[0])
	}
}

func FuzzUnpackResults(f *testing.F) {
	f.Add(ci.PackResults([]ci.TestResult{{Number: 12, Status: ci.TestFailed, Duration: time.Second, Commit: "c0ffee", Ref: "refs/heads/a b", Time: time.Unix(1_800_000_000, 0)}, {Number: 11, Status: ci.TestSkipped}}))
	f.Add("1 2 3 SU  \n\n- - -")
	f.Fuzz(func(t *testing.T, text string) {
		all := ci.UnpackResults(text)
		again := ci.UnpackResults(ci.PackResults(all))
		for i := range all {
			all[i].Duration = all[i].Duration / time.Microsecond * time.Microsecond
		}
		if !strings.Contains(text, "\x00") && !reflect.DeepEqual(all, again) {
			t.Fatalf("%q: %+v became %+v", text, all, again)
		}
	})
}
