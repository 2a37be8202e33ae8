package ci

import "time"

// Report is the parsed results of one report group: tests or coverage.
type Report struct {
	Group     string         `json:"group"`
	Type      string         `json:"type"`   // TEST or CODE_COVERAGE
	Format    string         `json:"format"` // JUNITXML, …
	Status    string         `json:"status"` // SUCCEEDED, FAILED, INCOMPLETE
	Files     []string       `json:"files"`
	Auto      bool           `json:"auto,omitempty"`     // found by auto-discovery
	Problems  []string       `json:"problems,omitempty"` // "path:line: …": what could not be read, or was cut
	Truncated bool           `json:"truncated,omitempty"`
	Summary   TestSummary    `json:"summary,omitzero"`
	Cases     []TestCase     `json:"cases,omitempty"`
	Coverage  Coverage       `json:"coverage,omitzero"`
	Sources   []FileCoverage `json:"sources,omitempty"`
}

// The statuses of a test case (codebuild.md 6).
const (
	TestSucceeded = "SUCCEEDED"
	TestFailed    = "FAILED"
	TestError     = "ERROR"
	TestSkipped   = "SKIPPED"
	TestUnknown   = "UNKNOWN"
)

// TestCase is one test.
type TestCase struct {
	Suite    string        `json:"suite,omitempty"`
	Prefix   string        `json:"prefix,omitempty"` // class, package or feature
	Name     string        `json:"name"`
	Status   string        `json:"status"`
	Duration time.Duration `json:"durationNanos"`
	Message  string        `json:"message,omitempty"` // failure text, at most 5,000 characters
	File     string        `json:"file,omitempty"`
	Line     int           `json:"line,omitempty"`
	Source   string        `json:"source"` // the report file it was read from
}

// TestSummary counts the cases of a report, those cut away too.
type TestSummary struct {
	Total     int           `json:"total"`
	Succeeded int           `json:"succeeded"`
	Failed    int           `json:"failed"`
	Error     int           `json:"error"`
	Skipped   int           `json:"skipped"`
	Unknown   int           `json:"unknown"`
	Duration  time.Duration `json:"durationNanos"`
}

// Coverage counts lines and branches.
type Coverage struct {
	LinesCovered    int `json:"linesCovered"`
	LinesMissed     int `json:"linesMissed"`
	BranchesCovered int `json:"branchesCovered"`
	BranchesMissed  int `json:"branchesMissed"`
}

// LinePercent is 0 to 100; 0 when nothing was counted.
func (c Coverage) LinePercent() float64 { return percent(c.LinesCovered, c.LinesMissed) }

// BranchPercent is 0 to 100; 0 when nothing was counted.
func (c Coverage) BranchPercent() float64 { return percent(c.BranchesCovered, c.BranchesMissed) }

func percent(hit, missed int) float64 {
	if hit+missed == 0 {
		return 0
	}
	return 100 * float64(hit) / float64(hit+missed)
}

// FileCoverage is the coverage of one source file.
type FileCoverage struct {
	Path string `json:"path"`
	Coverage
}
