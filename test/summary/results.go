package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64
}

// results gathers what was read.
type results struct {
	out            io.Writer
	allowed        []rule
	output         map[string][]string // of tests that run, by package + "\n" + test
	passed, failed int
	badPackages    []string
	skipped, meant []skip
}

type skip struct{ pkg, test, why string }

func (r *results) read(in *bufio.Reader) error {
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.out, "%s", line) // not an event: a word of the go command itself
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the events of go test: %w", err)
		}
	}
}

func (r *results) take(e event) {
	key := e.Package + "\n" + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, key)
		} else {
			r.endTest(e, key)
		}
		delete(r.output, key)
	}
}

func (r *results) endTest(e event, key string) {
	switch {
	case e.Action == "pass":
		r.passed++
	case e.Action == "fail":
		r.failed++
		fmt.Fprintf(r.out, "%s", strings.Join(r.output[key], ""))
	case strings.HasPrefix(e.Test, "Fuzz") && strings.Contains(e.Test, "/"):
		// A seed that the fuzzer has no use for. Nobody can make it run.
	default:
		s := skip{e.Package, e.Test, reason(r.output[key])}
		for _, rule := range r.allowed {
			if rule.allows(e.Package, e.Test) {
				s.why = rule.why
				r.meant = append(r.meant, s)
				return
			}
		}
		r.skipped = append(r.skipped, s)
	}
}

func (r *results) endPackage(e event, key string) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok  \t%s\t%.3fs\n", e.Package, e.Elapsed)
	case "skip":
		fmt.Fprintf(r.out, "?   \t%s\t[no test files]\n", e.Package)
	case "fail":
		// What no test owns: a panic, a race, a time-out, "FAIL [build failed]".
		for _, line := range r.output[key] {
			if line != "FAIL\n" && !strings.HasPrefix(line, "FAIL\t") {
				fmt.Fprint(r.out, line)
			}
		}
		r.unfinished(e.Package)
		note := ""
		if e.FailedBuild != "" {
			note = " [build failed]"
		}
		fmt.Fprintf(r.out, "FAIL\t%s\t%.3fs%s\n", e.Package, e.Elapsed, note)
		r.badPackages = append(r.badPackages, e.Package)
	}
}

// unfinished tells the output of tests that had not ended when their package did.
func (r *results) unfinished(pkg string) {
	for key, lines := range r.output {
		if p, test, _ := strings.Cut(key, "\n"); p == pkg && test != "" {
			fmt.Fprint(r.out, strings.Join(lines, ""))
			r.failed++
			delete(r.output, key)
		}
	}
}

// reason finds the text of t.Skip in a test's output.
func reason(lines []string) string {
	var said []string
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "=== ") || strings.HasPrefix(l, "--- ") {
			continue
		}
		if _, text, ok := strings.Cut(l, ".go:"); ok { // file_test.go:12: why
			if _, text, ok = strings.Cut(text, ": "); ok {
				l = text
			}
		}
		said = append(said, l)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return said[len(said)-1]
}

// finish prints the skips and the counts, and says whether all is well.
func (r *results) finish(strict bool) bool {
	for _, s := range []struct {
		title string
		skips []skip
	}{{"Skipped by design:", r.meant}, {"Skipped:", r.skipped}} {
		if len(s.skips) > 0 {
			fmt.Fprintln(r.out, "\n"+s.title)
		}
		for _, k := range s.skips {
			fmt.Fprintf(r.out, "  %s %s: %s\n", k.pkg[strings.LastIndex(k.pkg, "/")+1:], k.test, k.why)
		}
	}
	if len(r.badPackages) > 0 {
		fmt.Fprintf(r.out, "\nFailed packages:\n  %s\n", strings.Join(r.badPackages, "\n  "))
	}
	// A package that does not build or that panics failed, also where no test of it did.
	failed := max(r.failed, len(r.badPackages))
	if strict && len(r.skipped) > 0 {
		fmt.Fprintf(r.out, "\n%d tests were skipped, and here none may be: give them what they miss, or say in test/allowed-skips why not.\n", len(r.skipped))
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, failed, len(r.skipped))
	return failed == 0 && r.passed > 0 && (!strict || len(r.skipped) == 0)
}
