package buildspec

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/sluice-ci/sluice/internal/ci"
)

// notes gathers what is wrong with a definition and the files it refers to.
type notes struct {
	problems ci.Problems
	files    []string // in the order in which they were opened
	count    map[ci.Severity]int
}

// maxProblems of one severity are kept: nobody reads more, and a hostile file
// must not make a million.
const maxProblems = 200

// open gives a file its place in the order of problems.
func (ns *notes) open(path string) {
	if !slices.Contains(ns.files, path) {
		ns.files = append(ns.files, path)
	}
}

func (ns *notes) add(pos ci.Pos, s ci.Severity, message string) {
	if ns.count == nil {
		ns.count = map[ci.Severity]int{}
	}
	if ns.full(s) {
		return
	}
	p := ci.Problem{Pos: pos, Severity: s, Message: message}
	// An anchor that is used five times is wrong once.
	if !slices.Contains(ns.problems, p) {
		ns.count[s]++
		ns.problems = append(ns.problems, p)
	}
}

// full says that no more of this severity are kept, so that nothing costly need
// be worked out for one.
func (ns *notes) full(s ci.Severity) bool { return ns.count[s] >= maxProblems }

// sorted is every problem in the order of the text, file by file.
func (ns *notes) sorted() ci.Problems {
	out := slices.Clone(ns.problems)
	slices.SortStableFunc(out, func(a, b ci.Problem) int {
		return cmp.Or(
			cmp.Compare(slices.Index(ns.files, a.File), slices.Index(ns.files, b.File)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col),
		)
	})
	return out
}

// nearest is the known name that was probably meant; "" when none is near.
func nearest(name string, known []string) string {
	best, at := "", 1+max(1, min(3, len(name)/3))
	plain := plainName(name)
	for _, k := range known {
		d := distance(plain, plainName(k))
		if d < at {
			best, at = k, d
		}
	}
	if best == "" && len(name) >= 4 {
		i := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(plainName(k), plain) })
		if i >= 0 {
			return known[i]
		}
	}
	return best
}

// plainName is a name as a hurried author sees it.
func plainName(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || c == ' ' {
			return -1
		}
		return unicode.ToLower(c)
	}, s)
}

// distance is the number of letters to add, drop, change or swap (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 || max(len(a)-len(b), len(b)-len(a)) > 3 {
		return 64 // too far apart to be a slip
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
