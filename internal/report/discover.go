package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Found is a report file that nobody named.
type Found struct {
	Format string
	Path   string // slash path below the root
}

// sniffSize is how much of a file tells its format.
const sniffSize = 1024

// skipDirs are directories whose reports are not of this build: what was
// installed, and what tests read as their input.
func skipDirs() []string {
	return []string{".git", ".hg", ".svn", "node_modules", "bower_components", "vendor", "site-packages", ".venv", "venv", ".tox", ".nox",
		"__pycache__", ".m2", ".gradle", ".cargo", ".bundle", "testdata", "fixtures", "__fixtures__", ".sluice"}
}

// DiscoveryGlobs choose the files that Discover would look into, for fetching no
// more than them: globs and excludes of a ci.FileSet.
func DiscoveryGlobs() (globs, excludes []string) {
	for _, s := range suffixes() {
		globs = append(globs, "**/*"+s)
	}
	for _, d := range skipDirs() {
		excludes = append(excludes, "**/"+d+"/**/*")
	}
	return globs, excludes
}

func suffixes() []string {
	return []string{".xml", ".trx", ".json", ".jsonl", ".info", ".lcov", ".out", ".coverprofile"}
}

// AutoGroup names the group of what was discovered.
func AutoGroup(project, format string) string { return project + "-" + format + "-AutoDiscovered" }

// Discover looks for report files by their first bytes, in the order of their
// paths. Files that cannot be read are passed over; an error is that of ctx or of
// the root itself.
func Discover(ctx context.Context, root fs.FS) ([]Found, error) {
	skip, ends := skipDirs(), suffixes()
	var found []Found
	err := fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil
		case e.IsDir():
			if slices.Contains(skip, e.Name()) {
				return fs.SkipDir
			}
			return nil
		case !e.Type().IsRegular() || !slices.ContainsFunc(ends, func(s string) bool { return strings.HasSuffix(name, s) }):
			return nil
		}
		if format := sniffFile(root, name); format != "" {
			found = append(found, Found{format, name})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for reports: %w", err)
	}
	return found, nil
}

func sniffFile(root fs.FS, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, sniffSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	return Sniff(path.Base(name), head[:n])
}

// Sniff tells the format of a file from its first KiB, "" when it is none.
func Sniff(name string, head []byte) string {
	t, _ := newText(bytes.NewReader(head))
	decoded, _ := io.ReadAll(io.LimitReader(t.r, 4*sniffSize))
	s := strings.TrimLeft(string(decoded), " \t\r\n")
	switch {
	case strings.HasPrefix(s, "<"):
		return sniffXML(s)
	case strings.HasPrefix(s, "["):
		if has(s, `"keyword"`, `"elements"`) || has(s, `"keyword"`, `"uri"`) || has(s, `"uri"`, `"elements"`) {
			return "CUCUMBERJSON"
		}
	case strings.HasPrefix(s, "{"):
		switch {
		case name == ".resultset.json" && has(s, `"coverage"`), has(s, `"simplecov_version"`):
			return "SIMPLECOV"
		case strings.HasPrefix(s, `{"Time":`) && has(s, `"Action":"`), strings.HasPrefix(s, `{"Action":`), strings.HasPrefix(s, `{"ImportPath":`) && has(s, `"Action":"build-`):
			return "GOTESTJSON"
		}
	case strings.HasPrefix(s, "mode: set\n"), strings.HasPrefix(s, "mode: count\n"), strings.HasPrefix(s, "mode: atomic\n"):
		return "GOCOVER"
	case strings.HasPrefix(s, "TN:") && has(s, "\nSF:"), strings.HasPrefix(s, "SF:"):
		return "LCOV"
	}
	return ""
}

func has(s string, all ...string) bool {
	for _, part := range all {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

func sniffXML(s string) string {
	t := &text{buf: []byte(s), end: len(s), err: io.EOF}
	x := newXML(t, func(int, string) {})
	if kind, err := x.next(); err != nil || kind != xmlStart {
		return ""
	}
	switch x.name {
	case "testsuites", "testsuite":
		return "JUNITXML"
	case "test-results":
		return "NUNITXML"
	case "test-run":
		return "NUNIT3XML"
	case "testng-results":
		return "TESTNGXML"
	case "TestRun":
		if has(s, "VisualStudio") {
			return "VISUALSTUDIOTRX"
		}
	case "report":
		if has(s, "JACOCO") || has(s, "<sessioninfo") {
			return "JACOCOXML"
		}
	case "coverage":
		switch {
		case x.attr("line-rate") != "", has(s, "cobertura"), has(s, "<packages"):
			return "COBERTURAXML"
		case x.attr("generated") != "", x.attr("clover") != "":
			return "CLOVERXML"
		}
	}
	return ""
}
