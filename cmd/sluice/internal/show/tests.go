package show

import (
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// tests sums up the test reports, and shows the tests that failed.
func (t *Text) tests(b *ci.Build) {
	var sum ci.TestSummary
	var failed []ci.TestCase
	var problems []string
	found := false
	for i := range b.Jobs {
		for _, r := range b.Jobs[i].Reports {
			for _, p := range r.Problems {
				problems = append(problems, r.Group+": "+p)
			}
			if r.Type == "CODE_COVERAGE" {
				continue
			}
			found = true
			sum.Total += r.Summary.Total
			sum.Succeeded += r.Summary.Succeeded
			sum.Failed += r.Summary.Failed
			sum.Error += r.Summary.Error
			sum.Skipped += r.Summary.Skipped
			sum.Unknown += r.Summary.Unknown
			for _, c := range r.Cases {
				if c.Status == ci.TestFailed || c.Status == ci.TestError {
					failed = append(failed, c)
				}
			}
		}
	}
	if found {
		t.field("Tests", t.counts(sum))
	}
	for i, c := range failed {
		if i == shownTests {
			t.line("", fmt.Sprintf("  … and %d more failed tests, in build.json", len(failed)-shownTests))
			break
		}
		t.failedTest(c)
	}
	for i, p := range problems {
		if i == shownTests {
			t.line("", fmt.Sprintf("  … and %d more, in build.json", len(problems)-shownTests))
			break
		}
		t.line("", "  "+t.paint(yellow, oneLine(p)))
	}
}

func (t *Text) counts(s ci.TestSummary) string {
	var parts []string
	if bad := s.Failed + s.Error; bad > 0 {
		parts = append(parts, t.paint(red, fmt.Sprintf("%d failed", bad)))
	}
	parts = append(parts, t.paint(green, fmt.Sprintf("%d passed", s.Succeeded)))
	if s.Skipped > 0 {
		parts = append(parts, t.paint(yellow, fmt.Sprintf("%d skipped", s.Skipped)))
	}
	if s.Unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d unknown", s.Unknown))
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(" of %d", s.Total)
}

func (t *Text) failedTest(c ci.TestCase) {
	name := c.Name
	if c.Prefix != "" {
		name = c.Prefix + " " + name
	} else if c.Suite != "" {
		name = c.Suite + " " + name
	}
	text := "  " + t.paint(red, "✗ ") + oneLine(name)
	if c.Duration > 0 {
		text += t.paint(dim, " ("+Duration(c.Duration)+")")
	}
	if c.File != "" {
		text += t.paint(dim, " "+place(ci.Pos{File: c.File, Line: c.Line}))
	}
	t.line("", text)
	rows := strings.Split(strings.TrimSpace(c.Message), "\n")
	for i, row := range rows {
		if strings.TrimSpace(row) == "" {
			continue
		}
		if i == messageRows {
			t.line("", t.paint(dim, "      …"))
			break
		}
		row = strings.TrimRight(printable(row), " ")
		if w := t.look.Width(); w > 0 {
			row = cutTo(row, w-6)
		}
		t.line("", "      "+row)
	}
}

// cutTo cuts a row, keeping the spaces in front of it.
func cutTo(row string, width int) string {
	runes := []rune(row)
	if width < 2 || len(runes) <= width {
		return row
	}
	return string(runes[:width-1]) + "…"
}

func (t *Text) coverage(b *ci.Build) {
	var c ci.Coverage
	found := false
	for i := range b.Jobs {
		for _, r := range b.Jobs[i].Reports {
			if r.Type == "CODE_COVERAGE" {
				found = true
				c.LinesCovered += r.Coverage.LinesCovered
				c.LinesMissed += r.Coverage.LinesMissed
				c.BranchesCovered += r.Coverage.BranchesCovered
				c.BranchesMissed += r.Coverage.BranchesMissed
			}
		}
	}
	if !found {
		return
	}
	text := fmt.Sprintf("%.1f %% of %s", c.LinePercent(), plural(c.LinesCovered+c.LinesMissed, "line"))
	if n := c.BranchesCovered + c.BranchesMissed; n > 0 {
		text += fmt.Sprintf(", %.1f %% of %d branches", c.BranchPercent(), n)
	}
	t.field("Coverage", text)
}
