package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/report"
)

// collectReports parses what the definition names as reports; without any, it
// looks for reports of known formats itself (codebuild.md 6). A report that
// cannot be read is said, and fails nothing.
func (j *job) collectReports(ctx context.Context, phase ci.Phase) error {
	if len(j.a.Job.Reports) > 0 {
		for i, spec := range j.a.Job.Reports {
			id, title := fmt.Sprintf("reports-%d", i), "Read reports "+spec.Group
			err := j.action(ctx, phase, id, title, func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
				return j.report(ctx, s, log, spec)
			})
			if fatal(ctx, err) {
				return err
			}
		}
		return nil
	}
	if auto, _ := j.value("CODEBUILD_CONFIG_AUTO_DISCOVER"); strings.EqualFold(auto, "false") || !j.entered {
		return nil
	}
	err := j.discover(ctx, phase)
	if err != nil && !fatal(ctx, err) {
		err = j.action(ctx, phase, "reports", "Look for reports", func(context.Context, *ci.StepRun, io.Writer) error { return err })
	}
	if fatal(ctx, err) {
		return err
	}
	return nil
}

func (j *job) report(ctx context.Context, s *ci.StepRun, log io.Writer, spec ci.ReportSpec) error {
	texts, err := j.expand(ctx, s.ID+"-names", append([]string{spec.Group, spec.Base}, spec.Files...))
	if err != nil {
		return err
	}
	spec.Group, spec.Base, spec.Files = texts[0], texts[1], texts[2:]
	dir := j.reportDir(spec.Group)
	write, files := folder(dir, selection{flatten: spec.Flatten})
	matched, err := j.take(ctx, ci.FileSet{Dir: j.sandbox.Dirs().Source, Base: spec.Base, Globs: spec.Files}, write)
	if err != nil {
		return err
	}
	for _, p := range matched.Problems {
		logLine(log, "%s", p)
	}
	if len(*files) == 0 {
		s.Note = "no files"
		logLine(log, "no matching report files found for %s: %s", spec.Group, strings.Join(spec.Files, ", "))
		return nil
	}
	j.keepReport(s, log, report.Group(ctx, spec, dir, names(*files)))
	return nil
}

func (j *job) keepReport(s *ci.StepRun, log io.Writer, r ci.Report) {
	j.hideReport(&r)
	s.Reports = append(s.Reports, r)
	s.Note = reportText(r)
	logLine(log, "%s: %s", r.Group, s.Note)
	for _, p := range r.Problems {
		logLine(log, "%s", p)
	}
}

// hideReport masks secrets wherever a report may quote one.
func (j *job) hideReport(r *ci.Report) {
	hide := func(texts ...*string) {
		for _, t := range texts {
			*t = j.hide(*t)
		}
	}
	hide(&r.Group)
	for i := range r.Files {
		hide(&r.Files[i])
	}
	for i := range r.Problems {
		hide(&r.Problems[i])
	}
	for i := range r.Cases {
		c := &r.Cases[i]
		hide(&c.Suite, &c.Prefix, &c.Name, &c.Message, &c.File, &c.Source)
	}
	for i := range r.Sources {
		hide(&r.Sources[i].Path)
	}
}

func reportText(r ci.Report) string {
	if r.Type == "CODE_COVERAGE" {
		return fmt.Sprintf("%s, %.1f %% of lines covered", r.Status, r.Coverage.LinePercent())
	}
	n := r.Summary
	text := fmt.Sprintf("%s, %s", r.Status, plural(n.Total, "test"))
	if bad := n.Failed + n.Error; bad > 0 {
		text += fmt.Sprintf(", %d failed", bad)
	}
	if n.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", n.Skipped)
	}
	return text
}

// reportDir is where a group's files are kept: a folder below the reports folder
// for every name that a group can have.
func (j *job) reportDir(group string) string {
	var safe strings.Builder
	for i, r := range []byte(group) {
		if r < ' ' || strings.IndexByte(`/\:%`, r) >= 0 || r == '.' && i == 0 {
			fmt.Fprintf(&safe, "%%%02X", r)
			continue
		}
		safe.WriteByte(r)
	}
	if safe.Len() == 0 {
		safe.WriteByte('%')
	}
	return filepath.Join(j.r.cfg.Output(j.a.Run.ID), "reports", safe.String())
}

func names(files []kept) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.name
	}
	return out
}

// discover finds reports of known formats by their content, among the files that
// the build itself wrote: a report that came with the source is a fixture. Like
// CodeBuild it makes one group a format.
func (j *job) discover(ctx context.Context, phase ci.Phase) error {
	base, _ := j.value("CODEBUILD_CONFIG_AUTO_DISCOVER_DIR")
	globs, excludes := report.DiscoveryGlobs()
	set := ci.FileSet{Dir: j.sandbox.Dirs().Source, Base: base, Globs: globs, Excludes: excludes}
	dir := filepath.Join(j.r.cfg.Output(j.a.Run.ID), "reports", ".discovered")
	defer os.RemoveAll(dir)
	write, files := folder(dir, selection{since: j.result.Started.Truncate(time.Second)})
	if _, err := j.take(ctx, set, write); err != nil {
		return fmt.Errorf("look for reports: %w", err)
	}
	if len(*files) == 0 {
		return nil
	}
	reports, err := report.Discover(ctx, os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("look for reports: %w", err)
	}
	found := map[string][]string{}
	var formats []string
	for _, f := range reports {
		if found[f.Format] == nil {
			formats = append(formats, f.Format)
		}
		found[f.Format] = append(found[f.Format], f.Path)
	}
	for _, format := range formats {
		group := report.AutoGroup(j.a.Build.Project, format)
		err := j.action(ctx, phase, "reports-"+format, "Read reports "+group, func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
			return j.discovered(ctx, s, log, dir, group, format, found[format])
		})
		if fatal(ctx, err) {
			return err
		}
	}
	return nil
}

func (j *job) discovered(ctx context.Context, s *ci.StepRun, log io.Writer, dir, group, format string, paths []string) error {
	kept := j.reportDir(group)
	for _, p := range paths {
		to := filepath.Join(kept, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("keep report %s: %w", p, err)
		}
		if err := os.Rename(filepath.Join(dir, filepath.FromSlash(p)), to); err != nil {
			return fmt.Errorf("keep report %s: %w", p, err)
		}
	}
	r := report.Group(ctx, ci.ReportSpec{Group: group, Format: format}, kept, paths)
	r.Auto = true
	j.keepReport(s, log, r)
	return nil
}
