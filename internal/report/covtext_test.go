package report

import (
	"strings"
	"testing"
)

// TestLCOVRubbish: empty lines and comments are no excuse for rubbish.
func TestLCOVRubbish(t *testing.T) {
	t.Parallel()
	r := parse(t, "LCOV", "x.info", "\n\n# a comment\n\nTN:\nSF:a.c\nDA:1,1\nend_of_record\nrubbish\n"+strings.Repeat("more\n", 9))
	want := `x.info:9: "rubbish" is no line of an lcov tracefile`
	if r.Status != Incomplete || len(r.Problems) != 4 || r.Problems[0] != want || !strings.Contains(r.Problems[3], "7 more lines") {
		t.Errorf("%s, problems %q; want %q first and a count last", r.Status, r.Problems, want)
	}
}
