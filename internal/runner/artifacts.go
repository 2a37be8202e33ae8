package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// collectArtifacts keeps the primary and the secondary artifacts, each as a step.
// One that fails does not keep the others from being collected.
func (j *job) collectArtifacts(ctx context.Context) error {
	var first error
	for _, spec := range j.a.Job.Artifacts {
		name, title := "artifacts", "Upload artifacts"
		if spec.ID != "" {
			name, title = "artifacts-"+spec.ID, "Upload artifacts "+spec.ID
		}
		err := j.action(ctx, ci.PhaseUploadArtifacts, name, title, func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
			return j.artifact(ctx, s, log, spec)
		})
		if fatal(ctx, err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (j *job) artifact(ctx context.Context, s *ci.StepRun, log io.Writer, spec ci.ArtifactSpec) error {
	texts := append([]string{spec.Name, spec.Base, spec.Prefix}, append(append([]string(nil), spec.Files...), spec.Excludes...)...)
	texts, err := j.expand(ctx, s.ID+"-names", texts)
	if err != nil {
		return err
	}
	name, err := j.artifactName(spec, texts[0], texts[2])
	if err != nil {
		return err
	}
	n := len(spec.Files)
	set := ci.FileSet{
		Dir: j.sandbox.Dirs().Source, Base: texts[1], Globs: texts[3 : 3+n], Excludes: texts[3+n:],
		Symlinks: spec.Symlinks && j.packaging() == Zip,
	}
	dir := filepath.Join(j.r.cfg.Output(j.a.Run.ID), "artifacts")
	a := ci.Artifact{ID: spec.ID, Name: name, Format: j.packaging()}
	matched, err := j.pack(ctx, &a, set, spec.Flatten, dir)
	for _, glob := range matched.Unmatched {
		logLine(log, "Skipping invalid file path %s: nothing matches it", glob)
	}
	for _, p := range matched.Problems {
		logLine(log, "%s", p)
	}
	if err != nil {
		return err
	}
	if a.Files == 0 {
		what := "no matching artifact paths found"
		if set.Base != "" && len(matched.Bases) == 0 {
			what = "no matching base directory path found for " + set.Base
		}
		_ = os.RemoveAll(filepath.Join(dir, filepath.FromSlash(a.Path)))
		return failf(ci.CodeClient, "%s: %s", spec.Pos, what)
	}
	if j.r.cfg.Blobs != nil {
		if err := j.storeArtifact(ctx, &a, dir); err != nil {
			return err
		}
	}
	a.Path = path.Join("artifacts", a.Path)
	s.Artifacts = []ci.Artifact{a}
	s.Note = fmt.Sprintf("%s, %s", plural(a.Files, "file"), bytesText(a.Size))
	logLine(log, "Found %d file(s), %s: %s", a.Files, bytesText(a.Size), a.Path)
	return nil
}

// pack writes the artifact below dir, first under another name, so that what
// stands under its own is always whole.
func (j *job) pack(ctx context.Context, a *ci.Artifact, set ci.FileSet, flatten bool, dir string) (ci.Matched, error) {
	a.Path = a.Name
	if a.Format == Zip && !strings.HasSuffix(a.Name, ".zip") {
		a.Path += ".zip"
	}
	final := filepath.Join(dir, filepath.FromSlash(a.Path))
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return ci.Matched{}, fmt.Errorf("make the artifact's folder: %w", err)
	}
	partial := filepath.Join(dir, ".partial-"+strings.ReplaceAll(a.Path, "/", "_"))
	if err := os.RemoveAll(partial); err != nil {
		return ci.Matched{}, fmt.Errorf("clear the artifact's folder: %w", err)
	}
	defer os.RemoveAll(partial)
	var matched ci.Matched
	var err error
	if a.Format == Zip {
		matched, err = j.packZip(ctx, a, set, flatten, partial)
	} else {
		write, files := folder(partial, selection{flatten: flatten})
		matched, err = j.take(ctx, set, write)
		a.Files = len(*files)
		a.SHA256, a.Size = digest(*files)
	}
	if err != nil || a.Files == 0 {
		return matched, err
	}
	if err := os.RemoveAll(final); err != nil {
		return matched, fmt.Errorf("replace artifact %s: %w", a.Path, err)
	}
	if err := os.Rename(partial, final); err != nil {
		return matched, fmt.Errorf("keep artifact %s: %w", a.Path, err)
	}
	return matched, nil
}

// artifactName settles under which name an artifact is kept: the evaluated one,
// else its identifier, else the project's (codebuild.md 1.7, 4.5).
func (j *job) artifactName(spec ci.ArtifactSpec, name, prefix string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		name = spec.ID
	}
	if name == "" {
		name = j.a.Build.Project
	}
	name = path.Join(strings.TrimPrefix(prefix, "/"), strings.Trim(name, "/"))
	if name == "." || !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\x00\n\\") {
		return "", failf(ci.CodeClient, "%s: artifact name %q does not name a place below the artifacts folder; use a relative path without '..'", spec.Pos, name)
	}
	return name, nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// packaging is how the job's artifacts are kept.
func (j *job) packaging() string {
	if p := j.a.Build.Packaging; p == Zip || p == Folder {
		return p
	}
	return j.r.cfg.Packaging
}
