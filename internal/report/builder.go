package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Limits of a report, those of CodeBuild where it has one.
const (
	MaxCases    = 500   // kept; failures first
	MaxTitle    = 1_000 // characters of a name
	MaxMessage  = 5_000 // characters of a message
	maxProblems = 50
)

// Builder makes one report of any number of files. It is not safe for several
// goroutines at once.
type Builder struct {
	format *format
	r      ci.Report
	seq    int
	failed []numbered
	other  []numbered
	cover  *coverage
	read   int // files that were read to their end
	spare  int // files that have nothing a report needs
	more   int // problems that were not kept
}

// numbered remembers where a case stood among all, so that dropping some keeps
// the order of the others.
type numbered struct {
	seq int
	ref string // what the file itself calls the case, for what it says of it later
	ci.TestCase
}

// NewBuilder begins a report of a group in a format such as "JUNITXML". A format
// that does not exist is an ErrInvalid that lists those that do.
func NewBuilder(group, name string) (*Builder, error) {
	f, err := find(name)
	if err != nil {
		return nil, err
	}
	b := &Builder{format: f, r: ci.Report{Group: group, Type: f.kind, Format: f.name, Files: []string{}}}
	if f.kind == Coverage {
		b.cover = newCoverage()
	}
	return b, nil
}

// Read adds a file. Whatever is wrong with it becomes a Problem of the report;
// what could be read before that stays.
func (b *Builder) Read(name string, r io.Reader) {
	b.r.Files = append(b.r.Files, name)
	t, complaint := newText(r)
	f := &file{b: b, name: name, t: t}
	if complaint != "" {
		f.note(1, complaint)
	}
	if !t.more() {
		if err := t.failure(); err != nil {
			f.bad(1, err.Error())
			return
		}
		f.bad(1, "the file is empty")
		return
	}
	if err := b.format.read(f); err != nil {
		f.problem(err.Error())
		return
	}
	switch {
	case f.spare:
		b.spare++
	case !f.broken:
		b.read++
	}
}

// Missing records a file that was expected and could not be opened.
func (b *Builder) Missing(name string, err error) {
	b.r.Files = append(b.r.Files, name)
	b.problem(fmt.Sprintf("%s: %v", clean(name, MaxTitle), err))
}

// Report is what was read so far. It is FAILED when a case failed, INCOMPLETE
// when a file, or all there is, could not be read to its end, else SUCCEEDED.
func (b *Builder) Report() ci.Report {
	r := b.r
	r.Files = slices.Clone(r.Files)
	r.Problems = slices.Clone(r.Problems)
	if b.more > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("and %d more problems", b.more))
	}
	r.Cases, r.Truncated = b.keep(), r.Summary.Total > MaxCases
	if b.cover != nil {
		r.Coverage, r.Sources = b.cover.totals()
		r.Truncated = b.cover.full
	}
	switch {
	case r.Summary.Failed+r.Summary.Error > 0:
		r.Status = Failed
	case b.read == 0 || b.read+b.spare < len(r.Files):
		r.Status = Incomplete
	default:
		r.Status = Succeeded
	}
	return r
}

// keep chooses the failed cases, then the first of the others, in reading order.
func (b *Builder) keep() []ci.TestCase {
	all := slices.Concat(b.failed, b.other[:min(len(b.other), MaxCases-len(b.failed))])
	slices.SortFunc(all, func(x, y numbered) int { return cmp.Compare(x.seq, y.seq) })
	cases := make([]ci.TestCase, len(all))
	for i, c := range all {
		cases[i] = c.TestCase
	}
	return cases
}

func (b *Builder) problem(text string) {
	if len(b.r.Problems) == maxProblems {
		b.more++
		return
	}
	b.r.Problems = append(b.r.Problems, text)
}

// file is one file being read: where formats put what they find.
type file struct {
	b      *Builder
	name   string
	t      *text
	broken bool // a part of it could not be read
	spare  bool // nothing in it is of use, and that is no harm where other files are
}

// problem records why the file could not be read on; text begins "line N: ".
func (f *file) problem(text string) {
	f.broken = true
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		text = text[len(fmt.Sprintf("line %d: ", line)):]
		f.note(line, text)
		return
	}
	f.b.problem(clean(f.name, MaxTitle) + ": " + text)
}

// bad records that a part of the file could not be read.
func (f *file) bad(line int, text string) {
	f.broken = true
	f.note(line, text)
}

// note records what is odd and costs nothing.
func (f *file) note(line int, text string) {
	f.b.problem(fmt.Sprintf("%s:%d: %s", clean(f.name, MaxTitle), line, text))
}

// add takes a test case; its texts may be raw and of any length.
func (f *file) add(c ci.TestCase) { f.addAs("", c) }

// addAs takes a test case that the file may say more of later, by its ref.
func (f *file) addAs(ref string, c ci.TestCase) {
	b, s := f.b, &f.b.r.Summary
	b.seq++
	s.Total++
	s.Duration = plus(s.Duration, c.Duration)
	list := &b.other
	switch c.Status {
	case ci.TestSucceeded:
		s.Succeeded++
	case ci.TestFailed:
		s.Failed++
		list = &b.failed
	case ci.TestError:
		s.Error++
		list = &b.failed
	case ci.TestSkipped:
		s.Skipped++
	default:
		c.Status = ci.TestUnknown
		s.Unknown++
	}
	if len(*list) >= MaxCases {
		return
	}
	c.Suite = clean(c.Suite, MaxTitle)
	c.Prefix = clean(c.Prefix, MaxTitle)
	c.Name = clean(c.Name, MaxTitle)
	c.Message = clean(c.Message, MaxMessage)
	c.File = clean(c.File, MaxTitle)
	c.Source = f.name
	if c.Name == "" {
		c.Name = cmp.Or(c.Prefix, c.Suite, "(no name)")
	}
	*list = append(*list, numbered{b.seq, ref, c})
}
