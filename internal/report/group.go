package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Parse reads one file as a report of its own.
func Parse(group, format, name string, r io.Reader) (ci.Report, error) {
	b, err := NewBuilder(group, format)
	if err != nil {
		return ci.Report{}, err
	}
	b.Read(name, r)
	return b.Report(), nil
}

// Group reads the files of one group, slash paths below dir, into one report. It
// follows no link out of dir. It always answers a report; what went wrong is in
// its Problems. A canceled ctx stops it at once.
func Group(ctx context.Context, spec ci.ReportSpec, dir string, files []string) ci.Report {
	b, err := NewBuilder(spec.Group, spec.Format)
	if err != nil {
		return ci.Report{Group: spec.Group, Format: spec.Format, Status: Incomplete, Files: []string{}, Problems: []string{err.Error()}}
	}
	if len(files) == 0 {
		b.problem(fmt.Sprintf("no file matches %q; check files and base-directory, and that the tests wrote a report", spec.Files))
		return b.Report()
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.problem(err.Error())
		return b.Report()
	}
	defer root.Close()
	for _, name := range files {
		if ctx.Err() != nil {
			b.Missing(name, fmt.Errorf("not read: %w", context.Cause(ctx)))
			continue
		}
		if err := b.open(ctx, root, name); err != nil {
			b.Missing(name, err)
		}
	}
	return b.Report()
}

func (b *Builder) open(ctx context.Context, root *os.Root, name string) error {
	// Looked at before it is opened: opening a named pipe would wait for a writer.
	info, err := root.Stat(name)
	if err != nil {
		return bare(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return bare(err)
	}
	defer f.Close()
	b.Read(name, stoppable{ctx, f})
	return nil
}

// stoppable ends when its ctx does: a file may be of any size.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.r.Read(p)
}

// bare leaves out the path, which the problem begins with already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

var shardSuffix = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[-_]?BuildFanoutShard\d+$`) })

// GroupOf is the group that a shard's group belongs to: without the suffix that
// the group has in one job of a fanout.
func GroupOf(group string) string { return shardSuffix().ReplaceAllString(group, "") }

// MergeAll merges the reports of several jobs: those of one group become one.
// They come back in the order in which their groups are first met.
func MergeAll(all []ci.Report) []ci.Report {
	type key struct{ group, format string }
	var order []key
	parts := map[key][]ci.Report{}
	for _, r := range all {
		k := key{GroupOf(r.Group), r.Format}
		if parts[k] == nil {
			order = append(order, k)
		}
		parts[k] = append(parts[k], r)
	}
	merged := make([]ci.Report, len(order))
	for i, k := range order {
		merged[i] = Merge(parts[k], 0)
	}
	return merged
}

// Merge makes one report of those that the jobs of a batch made of one group:
// FAILED if one is, INCOMPLETE if one is or if there are fewer than want (0 = as
// many as there are), totals added up, the duration the longest, and of a source
// file that several cover the best of them.
func Merge(parts []ci.Report, want int) ci.Report {
	if len(parts) == 0 {
		return ci.Report{Status: Incomplete, Files: []string{}, Problems: []string{"no job made this report"}}
	}
	m := ci.Report{Group: GroupOf(parts[0].Group), Type: parts[0].Type, Format: parts[0].Format, Status: Succeeded, Files: []string{}}
	if len(parts) < want {
		m.Status = Incomplete
		m.Problems = []string{fmt.Sprintf("%d of %d jobs made no report", want-len(parts), want)}
	}
	var failed, other []ci.TestCase
	for _, p := range parts {
		m.Files = append(m.Files, p.Files...)
		m.Auto = m.Auto || p.Auto
		m.Truncated = m.Truncated || p.Truncated
		m.Summary = addSummary(m.Summary, p.Summary)
		m.Problems = append(m.Problems, p.Problems...)
		if p.Status == Failed || p.Status == Incomplete && m.Status != Failed {
			m.Status = p.Status
		}
		for _, c := range p.Cases {
			if bad(c.Status) {
				failed = append(failed, c)
			} else {
				other = append(other, c)
			}
		}
	}
	if more := len(m.Problems) - maxProblems; more > 0 {
		m.Problems = append(m.Problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more problems", more))
	}
	if len(failed)+len(other) > MaxCases {
		m.Truncated = true
	}
	failed = failed[:min(len(failed), MaxCases)]
	m.Cases = append(failed, other[:min(len(other), MaxCases-len(failed))]...)
	m.Coverage, m.Sources = best(parts)
	return m
}

func addSummary(a, b ci.TestSummary) ci.TestSummary {
	return ci.TestSummary{
		Total:     a.Total + b.Total,
		Succeeded: a.Succeeded + b.Succeeded,
		Failed:    a.Failed + b.Failed,
		Error:     a.Error + b.Error,
		Skipped:   a.Skipped + b.Skipped,
		Unknown:   a.Unknown + b.Unknown,
		Duration:  max(a.Duration, b.Duration),
	}
}

// best takes each source file from the part that covers most of its lines, then
// of its branches. Parts that list no files are added as they are.
func best(parts []ci.Report) (ci.Coverage, []ci.FileCoverage) {
	var sum ci.Coverage
	byPath := map[string]ci.Coverage{}
	for _, p := range parts {
		if len(p.Sources) == 0 {
			sum = addCoverage(sum, p.Coverage)
		}
		for _, s := range p.Sources {
			old, ok := byPath[s.Path]
			if !ok || cmp.Or(cmp.Compare(s.LinePercent(), old.LinePercent()), cmp.Compare(s.BranchPercent(), old.BranchPercent())) > 0 {
				byPath[s.Path] = s.Coverage
			}
		}
	}
	var list []ci.FileCoverage
	for path, c := range byPath {
		sum = addCoverage(sum, c)
		list = append(list, ci.FileCoverage{Path: path, Coverage: c})
	}
	slices.SortFunc(list, func(a, b ci.FileCoverage) int { return cmp.Compare(a.Path, b.Path) })
	return sum, list
}
