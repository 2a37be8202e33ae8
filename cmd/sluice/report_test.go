package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

func TestReportCommands(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["printf '<testsuite name=\"s\"><testcase classname=\"shop\" name=\"adds\" time=\"0.1\"/><testcase classname=\"shop\" name=\"pays\" time=\"2\"><failure message=\"no money\"/></testcase></testsuite>' > r.xml"]`,
		"reports:", "  unit: {files: [r.xml], file-format: JUNITXML}")
	for range 2 {
		s.run("build", "start", "app", "--follow") // what failed in it is looked at below
	}
	for want, args := range map[string][]string{
		"app/2  unit":                     {"report", "list", "app"},
		"shop.pays  no mone":              {"report", "show", "app/1"},
		"shop.adds  unit":                 {"report", "tests", "app"},
		"shop.pays  unit   FF      2.00s": {"report", "slowest", "app", "--limit", "1"},
		"app/1\n":                         {"report", "tests", "app", "--failing"},
		"TEST  GROUP":                     {"report", "flaky", "app"},
		"failed  2.00s":                   {"report", "history", "app", "shop.pays"},
		"BUILD  GROUP":                    {"report", "coverage", "app"},
	} {
		if out := s.must(args...); !strings.Contains(out, want) {
			t.Errorf("sluice %s: got\n%s\nwant %q", strings.Join(args, " "), out, want)
		}
	}
	var tests []client.TestRecord
	if out := s.must("report", "tests", "app", "--json"); json.Unmarshal([]byte(out), &tests) != nil || len(tests) != 2 || tests[1].Since != 1 || len(tests[1].Recent) != 2 {
		t.Errorf("got %s", out)
	}
	if _, errs, code := s.run("report", "history", "app", "nothing"); code != exitUsage || !strings.Contains(errs, "names those that it has") {
		t.Errorf("exit %d, %q", code, errs)
	}
}
