package report

import (
	"fmt"
	"strconv"
	"strings"
)

// eachLine calls f with each line of the file, cut at maxText, and its number.
func eachLine(t *text, f func(n int, line string) error) error {
	k := kept{max: maxText}
	for n := 1; t.more(); n++ {
		k.reset()
		t.until('\n', &k)
		if err := f(n, strings.TrimRight(string(k.b), "\r")); err != nil {
			return err
		}
	}
	if err := t.failure(); err != nil {
		return fmt.Errorf("line %d: %w", t.line(), err)
	}
	return nil
}

// oddLines are those that mean nothing in their format.
type oddLines int

// note quotes the first few.
func (o *oddLines) note(f *file, n int, line, of string) {
	if *o++; *o <= 3 {
		f.bad(n, fmt.Sprintf("%q is no line of %s", clean(line, 60), of))
	}
}

// count says how many more there were, once the file is read.
func (o oddLines) count(f *file) {
	if o > 3 {
		f.note(f.t.line(), fmt.Sprintf("and %d more lines like that", o-3))
	}
}

// lcov reads lcov's tracefiles (lcov, Istanbul, llvm-cov, cargo and Dart tools).
type lcov struct {
	f        *file
	src      *source
	taken    map[int]branches
	found    int // records
	lf, lh   int
	brf, brh int
	odd      oddLines
}

func readLCOV(f *file) error {
	l := &lcov{f: f, taken: map[int]branches{}}
	err := eachLine(f.t, l.line)
	l.odd.count(f)
	switch {
	case err != nil:
		return err
	case l.src != nil:
		l.end()
		return fmt.Errorf("line %d: the file ends within a record; what comes before is kept", f.t.line())
	case l.found == 0:
		return fmt.Errorf("line 1: no record of lcov (SF: ... end_of_record) is in it")
	}
	return nil
}

func (l *lcov) line(n int, line string) error {
	if line == "end_of_record" {
		l.end()
		return nil
	}
	key, value, ok := strings.Cut(line, ":")
	if !ok {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			l.odd.note(l.f, n, line, "an lcov tracefile")
		}
		return nil
	}
	if key == "SF" {
		l.end()
		l.found++
		l.src = l.f.b.cover.source(slashed(strings.TrimSpace(value)))
		return nil
	}
	if l.src == nil {
		return nil
	}
	switch key {
	case "DA": // line, times it ran, and perhaps a checksum
		n, hits, ok := strings.Cut(value, ",")
		hits, _, _ = strings.Cut(hits, ",")
		if ok {
			l.f.b.cover.line(l.src, count(n), positive(hits))
		}
	case "BRDA": // line, block, branch, times taken or "-"
		parts := strings.Split(value, ",")
		if len(parts) < 4 || len(l.taken) > maxBranch {
			return nil
		}
		b := l.taken[count(parts[0])]
		b.total++
		if positive(parts[len(parts)-1]) {
			b.covered++
		}
		l.taken[count(parts[0])] = b
	case "LF":
		l.lf = count(value)
	case "LH":
		l.lh = count(value)
	case "BRF":
		l.brf = count(value)
	case "BRH":
		l.brh = count(value)
	}
	return nil
}

func (l *lcov) end() {
	if l.src == nil {
		return
	}
	for n, b := range l.taken {
		l.f.b.cover.branches(l.src, n, b.covered, b.total)
	}
	if len(l.src.pages) == 0 {
		l.src.lineTotals(min(l.lh, l.lf), l.lf-min(l.lh, l.lf))
	}
	if len(l.taken) == 0 {
		l.src.branchTotals(min(l.brh, l.brf), l.brf-min(l.brh, l.brf))
	}
	clear(l.taken)
	l.src, l.lf, l.lh, l.brf, l.brh = nil, 0, 0, 0, 0
}

// readGoCover reads Go's coverage profiles. Go counts statements in blocks, a
// report counts lines: a line is covered when a block on it ran.
func readGoCover(f *file) error {
	var odd oddLines
	err := eachLine(f.t, func(n int, line string) error {
		switch {
		case strings.HasPrefix(line, "mode:"):
			return nil
		case n == 1:
			return fmt.Errorf(`line 1: want "mode: set", "mode: count" or "mode: atomic", found %q`, clean(line, 60))
		case line == "":
			return nil
		}
		b, ok := parseBlock(line)
		if !ok {
			odd.note(f, n, line, "a coverage profile")
			return nil
		}
		if b.statements > 0 {
			f.b.cover.lines(f.b.cover.source(b.path), b.from, b.to, b.hit)
		}
		return nil
	})
	odd.count(f)
	return err
}

type block struct {
	path       string
	from, to   int
	statements int
	hit        bool
}

// parseBlock reads "path/file.go:12.34,15.2 3 1".
func parseBlock(line string) (block, bool) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return block{}, false
	}
	k := len(fields)
	place := strings.Join(fields[:k-2], " ")
	i := strings.LastIndexByte(place, ':')
	if i <= 0 {
		return block{}, false
	}
	from, to, ok := strings.Cut(place[i+1:], ",")
	from, _, _ = strings.Cut(from, ".")
	to, col, _ := strings.Cut(to, ".")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	statements, err3 := strconv.Atoi(fields[k-2])
	if !ok || err1 != nil || err2 != nil || err3 != nil || first < 1 || last < first || last > maxLine {
		return block{}, false
	}
	if col == "1" && last > first { // it ends before anything on its last line
		last--
	}
	return block{slashed(place[:i]), first, last, statements, positive(fields[k-1])}, true
}
