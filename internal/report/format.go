package report

import (
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Types and statuses of a report.
const (
	Test       = "TEST"
	Coverage   = "CODE_COVERAGE"
	Succeeded  = "SUCCEEDED"
	Failed     = "FAILED"
	Incomplete = "INCOMPLETE"
)

// format is one kind of file: its name in a buildspec, and how it is read.
type format struct {
	name string
	kind string
	read func(*file) error // the error begins "line N: "
}

// formats lists CodeBuild's formats and then our own additions.
func formats() []format {
	return []format{
		{"JUNITXML", Test, readJUnit},
		{"NUNITXML", Test, readNUnit2},
		{"NUNIT3XML", Test, readNUnit3},
		{"TESTNGXML", Test, readTestNG},
		{"VISUALSTUDIOTRX", Test, readTRX},
		{"CUCUMBERJSON", Test, readCucumber},
		{"CLOVERXML", Coverage, readClover},
		{"COBERTURAXML", Coverage, readCobertura},
		{"JACOCOXML", Coverage, readJaCoCo},
		{"SIMPLECOV", Coverage, readSimpleCov},
		{"GOTESTJSON", Test, readGoTest},
		{"LCOV", Coverage, readLCOV},
		{"GOCOVER", Coverage, readGoCover},
	}
}

// Formats names every format that can be read.
func Formats() []string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// Type is TEST or CODE_COVERAGE, and "" for a format that does not exist.
func Type(name string) string {
	f, err := find(name)
	if err != nil {
		return ""
	}
	return f.kind
}

func find(name string) (*format, error) {
	want := strings.ToUpper(strings.TrimSpace(name))
	if want == "" {
		want = "JUNITXML"
	}
	for _, f := range formats() {
		if f.name == want {
			return &f, nil
		}
	}
	return nil, fmt.Errorf("report format %q does not exist, use one of %s: %w", name, strings.Join(Formats(), ", "), ci.ErrInvalid)
}

// wrongRoot says that a file is of another format, and of which if that is known.
func wrongRoot(root string, want []string) string {
	other := ""
	switch root {
	case "testsuites", "testsuite":
		other = "JUNITXML"
	case "test-results":
		other = "NUNITXML"
	case "test-run":
		other = "NUNIT3XML"
	case "testng-results":
		other = "TESTNGXML"
	case "TestRun":
		other = "VISUALSTUDIOTRX"
	case "report":
		other = "JACOCOXML"
	case "coverage":
		other = "COBERTURAXML or CLOVERXML"
	}
	wanted := "<" + strings.Join(want, "> or <") + ">"
	if other == "" {
		return fmt.Sprintf("<%s> is not a report that is known; want %s", root, wanted)
	}
	return fmt.Sprintf("<%s> is the root of another format; want %s, or set file-format: %s", root, wanted, other)
}
