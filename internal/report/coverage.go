package report

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Limits of what one coverage report counts.
const (
	maxSources = 50_000
	maxPages   = 1 << 19 // of 64 lines each, over all sources
	maxBranch  = 1 << 19 // lines with branches, over all sources
	maxLine    = 1_000_000
	maxWork    = 1 << 24 // pages touched: a short file may name long ranges again and again
)

// coverage gathers the lines of source files. The same line met again, in another
// class, method or report file, counts once and is covered if it ever was.
type coverage struct {
	sources map[string]*source
	pages   int
	branch  int
	work    int
	full    bool // a limit was reached and something is not counted
}

type source struct {
	pages    map[int]*page
	last     int   // number of the page used last, which the next line is most likely on
	lastPage *page // nil before the first
	branches map[int]branches
	total    ci.Coverage // counts given without lines; the better of several
}

type page struct{ seen, hit uint64 }

type branches struct{ covered, total int }

func newCoverage() *coverage { return &coverage{sources: map[string]*source{}} }

// source finds or makes the source file; one that is not counted when there are
// too many.
func (c *coverage) source(path string) *source {
	path = clean(path, MaxTitle)
	if path == "" {
		path = "(no name)"
	}
	s, ok := c.sources[path]
	if !ok {
		s = &source{pages: map[int]*page{}, branches: map[int]branches{}}
		if len(c.sources) >= maxSources {
			c.full = true
			return s
		}
		c.sources[path] = s
	}
	return s
}

// line records that a line is code, and whether it ran.
func (c *coverage) line(s *source, n int, hit bool) { c.lines(s, n, n, hit) }

// lines records a range of lines.
func (c *coverage) lines(s *source, from, to int, hit bool) {
	if from < 1 || to > maxLine || to < from {
		return
	}
	if c.work += to/64 - from/64 + 1; c.work > maxWork && to > from {
		c.full = true
		return
	}
	for n := from / 64; n <= to/64; n++ {
		mask := ^uint64(0)
		if n == from/64 {
			mask &= ^uint64(0) << (from % 64)
		}
		if n == to/64 {
			mask &= ^uint64(0) >> (63 - to%64)
		}
		p := c.page(s, n)
		if p == nil {
			return
		}
		p.seen |= mask
		if hit {
			p.hit |= mask
		}
	}
}

// page finds or makes a page; nil when there are too many.
func (c *coverage) page(s *source, n int) *page {
	if s.lastPage != nil && s.last == n {
		return s.lastPage
	}
	p := s.pages[n]
	if p == nil {
		if c.pages >= maxPages {
			c.full = true
			return nil
		}
		c.pages++
		p = &page{}
		s.pages[n] = p
	}
	s.last, s.lastPage = n, p
	return p
}

// branches records how many of a line's branches ran; the better of several counts.
func (c *coverage) branches(s *source, n, covered, total int) {
	if total <= 0 || n < 0 || n > maxLine {
		return
	}
	old, ok := s.branches[n]
	if !ok {
		if c.branch >= maxBranch {
			c.full = true
			return
		}
		c.branch++
	}
	total = max(old.total, total)
	s.branches[n] = branches{min(max(old.covered, covered), total), total}
}

// totals adds it all up, sources in the order of their paths.
func (c *coverage) totals() (ci.Coverage, []ci.FileCoverage) {
	var sum ci.Coverage
	var list []ci.FileCoverage
	for path, s := range c.sources {
		f := ci.FileCoverage{Path: path, Coverage: s.count()}
		sum = addCoverage(sum, f.Coverage)
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b ci.FileCoverage) int { return cmp.Compare(a.Path, b.Path) })
	return sum, list
}

func (s *source) count() ci.Coverage {
	n := s.total
	if len(s.pages) > 0 {
		n.LinesCovered, n.LinesMissed = 0, 0
	}
	for _, p := range s.pages {
		n.LinesCovered += bits.OnesCount64(p.hit)
		n.LinesMissed += bits.OnesCount64(p.seen &^ p.hit)
	}
	if s.total.BranchesCovered+s.total.BranchesMissed == 0 {
		for _, b := range s.branches {
			n.BranchesCovered += b.covered
			n.BranchesMissed += b.total - b.covered
		}
	}
	return n
}

func addCoverage(a, b ci.Coverage) ci.Coverage {
	return ci.Coverage{
		LinesCovered:    a.LinesCovered + b.LinesCovered,
		LinesMissed:     a.LinesMissed + b.LinesMissed,
		BranchesCovered: a.BranchesCovered + b.BranchesCovered,
		BranchesMissed:  a.BranchesMissed + b.BranchesMissed,
	}
}

// lineTotals and branchTotals record counts that come without lines.
func (s *source) lineTotals(covered, missed int) {
	if covered+missed > 0 && covered >= s.total.LinesCovered {
		s.total.LinesCovered, s.total.LinesMissed = covered, missed
	}
}

func (s *source) branchTotals(covered, missed int) {
	if covered+missed > 0 && covered >= s.total.BranchesCovered {
		s.total.BranchesCovered, s.total.BranchesMissed = covered, missed
	}
}
