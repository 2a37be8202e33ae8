package client

import "time"

// Report is the parsed results of one report group.
type Report struct {
	Group     string         `json:"group"`
	Type      string         `json:"type"` // TEST, CODE_COVERAGE
	Format    string         `json:"format"`
	Status    string         `json:"status"`
	Files     []string       `json:"files"`
	Auto      bool           `json:"auto,omitempty"`
	Problems  []string       `json:"problems,omitempty"`
	Truncated bool           `json:"truncated,omitempty"`
	Summary   TestSummary    `json:"summary,omitzero"`
	Cases     []TestCase     `json:"cases,omitempty"`
	Coverage  Coverage       `json:"coverage,omitzero"`
	Sources   []FileCoverage `json:"sources,omitempty"`
}

// TestCase is one test.
type TestCase struct {
	Suite    string        `json:"suite,omitempty"`
	Prefix   string        `json:"prefix,omitempty"`
	Name     string        `json:"name"`
	Status   string        `json:"status"`
	Duration time.Duration `json:"durationNanos"`
	Message  string        `json:"message,omitempty"`
	File     string        `json:"file,omitempty"`
	Line     int           `json:"line,omitempty"`
	Source   string        `json:"source"`
}

// TestSummary counts the cases of a report.
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

// FileCoverage is the coverage of one source file.
type FileCoverage struct {
	Path string `json:"path"`
	Coverage
}
