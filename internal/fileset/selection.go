package fileset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// maxLinked bounds the directories entered through links, of which a few that
// point at each other can make more than there are atoms.
const maxLinked = 100_000

// maxProblems keeps the answer small when a whole tree cannot be read.
const maxProblems = 100

// entry is one chosen file, directory or link.
type entry struct {
	name string // in the archive
	tree *tree
	rel  string // in the tree, without links
	kind fs.FileMode
	link string // target, of a link that is kept
}

// selection is what a FileSet chose, sorted by name.
type selection struct {
	set     ci.FileSet
	trees   []*tree
	entries map[string]entry
	matched ci.Matched
	hits    []bool // by glob as written
	linked  int
}

// choose finds the files of a set. The caller closes the selection.
func choose(ctx context.Context, set ci.FileSet) (*selection, error) {
	s := &selection{set: set, entries: map[string]entry{}, hits: make([]bool, len(set.Globs))}
	err := s.choose(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	for i, g := range set.Globs {
		if !s.hits[i] {
			s.matched.Unmatched = append(s.matched.Unmatched, g)
		}
	}
	return s, nil
}

func (s *selection) close() {
	for _, t := range s.trees {
		t.close()
	}
}

func (s *selection) sorted() []entry {
	return slices.SortedFunc(maps.Values(s.entries), func(a, b entry) int { return cmp.Compare(a.name, b.name) })
}

func (s *selection) problem(format string, args ...any) {
	if len(s.matched.Problems) < maxProblems {
		s.matched.Problems = append(s.matched.Problems, fmt.Sprintf(format, args...))
	} else if len(s.matched.Problems) == maxProblems {
		s.matched.Problems = append(s.matched.Problems, "… and more")
	}
}

func (s *selection) tree(dir string) (*tree, error) {
	t, err := openTree(dir)
	if err == nil {
		s.trees = append(s.trees, t)
	}
	return t, err
}

func (s *selection) choose(ctx context.Context) error {
	var inBase, absolute []glob
	for i, text := range s.set.Globs {
		abs, err := expandHome(text)
		if err == nil && !strings.HasPrefix(abs, "/") {
			abs, err = clean("", text)
			if strings.HasPrefix(abs, "../") {
				abs = path.Join("/", s.set.Dir, s.set.Base, abs)
			}
		}
		if err != nil {
			return err
		}
		globs, err := compile(strings.TrimPrefix(abs, "/"), i)
		if err != nil {
			return err
		}
		if strings.HasPrefix(abs, "/") {
			absolute = append(absolute, globs...)
		} else {
			inBase = append(inBase, globs...)
		}
	}
	var excludes []glob
	for i, text := range s.set.Excludes {
		text, err := clean("", text)
		if err != nil {
			return err
		}
		globs, err := compile(text, i)
		if err != nil {
			return err
		}
		excludes = append(excludes, globs...)
	}
	if err := s.below(ctx, inBase, excludes); err != nil {
		return err
	}
	if len(absolute) == 0 {
		return nil
	}
	t, err := s.tree("/")
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	w := &walk{selection: s, ctx: ctx, tree: t, globs: absolute}
	return w.dir(".", "", begin(absolute), nil)
}

// below chooses in the base directories.
func (s *selection) below(ctx context.Context, globs, excludes []glob) error {
	bases, t, err := s.bases(ctx)
	if err != nil || len(globs) == 0 {
		return err
	}
	for _, base := range bases {
		s.matched.Bases = append(s.matched.Bases, path.Join(t.path, base))
		w := &walk{selection: s, ctx: ctx, tree: t, globs: globs, excludes: excludes}
		if err := w.dir(base, "", begin(globs), begin(excludes)); err != nil {
			return err
		}
	}
	return nil
}

// bases finds the directories that Base names, in the tree they are in.
func (s *selection) bases(ctx context.Context) ([]string, *tree, error) {
	dir, base := path.Clean("/"+s.set.Dir), s.set.Base
	if s.set.Dir == "" && !strings.HasPrefix(base, "/") {
		return nil, nil, fmt.Errorf("file set without a directory: %w", ci.ErrInvalid)
	}
	base, err := clean("/"+s.set.Dir, base)
	if err == nil && strings.HasPrefix(s.set.Base, "/") {
		base, err = clean("/", s.set.Base)
	}
	if err != nil {
		return nil, nil, err
	}
	rel, ok := (&tree{path: dir}).inside(base)
	if !ok {
		dir, rel = "/", strings.TrimPrefix(base, "/")
	}
	t, err := s.tree(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil // like a base that matches nothing
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", dir, err)
	}
	globs, err := compile(rel, 0)
	if err != nil {
		return nil, nil, err
	}
	found := map[string]bool{}
	w := &walk{selection: s, ctx: ctx, tree: t, globs: globs, found: found}
	if begin(globs).matches(globs) {
		found["."] = true
	}
	if err := w.dir(".", "", begin(globs), nil); err != nil {
		return nil, nil, err
	}
	return slices.Sorted(maps.Keys(found)), t, nil
}

// expandHome resolves "~/" by the environment of this process. Who acts for
// another environment expands it before.
func expandHome(text string) (string, error) {
	rest, ok := strings.CutPrefix(text, "~/")
	if !ok {
		return clean("", text)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("glob %q: %w: %w", text, err, ci.ErrInvalid)
	}
	return clean(home, rest)
}

// ExpandHome gives the set with "~/" of its globs and base replaced by home.
func ExpandHome(set ci.FileSet, home string) ci.FileSet {
	expand := func(s string) string {
		if rest, ok := strings.CutPrefix(s, "~/"); ok {
			return strings.TrimSuffix(home, "/") + "/" + rest
		}
		return s
	}
	set.Base = expand(set.Base)
	globs := make([]string, len(set.Globs))
	for i, g := range set.Globs {
		globs[i] = expand(g)
	}
	set.Globs = globs
	return set
}
