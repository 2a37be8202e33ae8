package source

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// resolveGit finds the commit, and has it in the mirror when it returns.
func (f *Fetcher) resolveGit(ctx context.Context, s ci.Source) (ci.Commit, error) {
	v, err := parseVersion(s.Version)
	if err != nil {
		return ci.Commit{}, err
	}
	r, err := f.open(ctx, s.Location)
	if err != nil {
		return ci.Commit{}, err
	}
	c := ci.Commit{Hash: v.hash}
	if v.hash != "" && len(v.refs) > 0 {
		c.Ref = v.refs[0]
	}
	if c.Hash == "" {
		if c.Hash, c.Ref, err = f.lookUp(ctx, r, v); err != nil {
			return ci.Commit{}, err
		}
	}
	if c.Hash == "" && v.abbrev != "" {
		if c.Hash, err = f.expand(ctx, r, v.abbrev); err != nil {
			return ci.Commit{}, err
		}
	}
	if c.Hash == "" {
		return ci.Commit{}, fmt.Errorf("source version %q: %s has no such branch, tag or commit: %w", s.Version, r.url, ci.ErrNotFound)
	}
	m, err := f.mirrorOf(r, len(c.Hash))
	if err != nil {
		return ci.Commit{}, err
	}
	raw, err := m.need(ctx, c.Hash, c.Ref)
	if err != nil {
		return ci.Commit{}, err
	}
	parseCommit(raw, &c)
	return c, nil
}

// lookUp asks the repository where the refs stand. Empty when it has none of them.
func (f *Fetcher) lookUp(ctx context.Context, r remote, v version) (hash, ref string, err error) {
	if r.local {
		if hash, ref = localRef(r.url, v.refs[0]); hash != "" {
			return hash, ref, nil
		}
	}
	args := append([]string{"ls-remote", "--quiet", "--symref"}, r.options()...)
	args = append(args, "--", r.url)
	for _, ref := range v.refs {
		args = append(args, ref, ref+"^{}")
	}
	out, err := run(ctx, f.contact(ctx, r, args...))
	if err != nil {
		return "", "", fmt.Errorf("read the refs of %s: %w", r.url, err)
	}
	found, head := map[string]string{}, ""
	for line := range strings.Lines(string(out)) {
		value, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if to, symbolic := strings.CutPrefix(value, "ref: "); symbolic && name == "HEAD" && isRefName(to) {
			head = to
		} else if ok && isHash(value) {
			found[name] = value
		}
	}
	for _, ref := range v.refs {
		hash = found[ref]
		if peeled := found[ref+"^{}"]; peeled != "" {
			hash = peeled // an annotated tag is not a commit, but names one
		}
		if hash == "" {
			continue
		}
		if ref == "HEAD" {
			ref = head
		}
		return hash, ref, nil
	}
	if v.refs[0] == "HEAD" {
		return "", "", fmt.Errorf("repository %s: it has no commit yet: %w", r.url, ci.ErrNotFound)
	}
	return "", "", nil
}

// localRef reads a branch, or HEAD, of a repository on this machine without git.
func localRef(dir, ref string) (hash, name string) {
	g := gitDir{dir: dir, common: dir}
	if fi, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		if !fi.IsDir() {
			return "", ""
		}
		g.dir = filepath.Join(dir, ".git")
		g.common = g.dir
	}
	if ref != "HEAD" && !strings.HasPrefix(ref, "refs/heads/") {
		return "", "" // may be an annotated tag
	}
	hash, name = g.resolve(ref)
	if hash == "" {
		return "", ""
	}
	return hash, name
}

// expand completes an abbreviated commit id, after a fetch when the mirror does not know it.
func (f *Fetcher) expand(ctx context.Context, r remote, abbrev string) (hash string, err error) {
	m, err := f.mirrorOf(r, 40)
	if err != nil {
		return "", err
	}
	err = m.mended(ctx, func() error {
		hash, err = m.expand(ctx, abbrev)
		return err
	})
	return hash, err
}

func (m *mirror) expand(ctx context.Context, abbrev string) (string, error) {
	for again := range 2 {
		cmd := m.git(ctx, "cat-file", "--batch-check")
		cmd.Stdin = strings.NewReader(abbrev + "^{commit}\n")
		out, err := m.run(ctx, cmd)
		if err != nil {
			return "", err
		}
		fields := strings.Fields(string(out))
		if len(fields) == 3 && fields[1] == "commit" {
			return fields[0], nil
		}
		if bytes.Contains(out, []byte("ambiguous")) {
			return "", fmt.Errorf("source version %q: several objects begin so: give more of the commit id: %w", abbrev, ci.ErrInvalid)
		}
		if again > 0 {
			break
		}
		if err := m.refresh(ctx); err != nil {
			return "", err
		}
	}
	return "", nil
}

// readGitFile reads from the objects of the commit; there is no checkout.
func (f *Fetcher) readGitFile(ctx context.Context, s ci.Source, c ci.Commit, name string) ([]byte, error) {
	clean, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	m, err := f.having(ctx, s, &c)
	if err != nil {
		return nil, err
	}
	cmd := m.git(ctx, "cat-file", "--batch", "--follow-symlinks")
	cmd.Stdin = strings.NewReader(c.Hash + ":" + clean + "\n")
	out, err := m.run(ctx, cmd)
	if err != nil {
		return nil, m.afterwards(ctx, fmt.Errorf("read %s of commit %s: %w", name, c.Hash, err))
	}
	head, body, _ := bytes.Cut(out, []byte("\n"))
	fields := strings.Fields(string(head))
	if len(fields) != 3 || !isHash(fields[0]) {
		return nil, fmt.Errorf("file %s in commit %s: %w", name, c.Hash, ci.ErrNotFound)
	}
	if fields[1] != "blob" {
		return nil, fmt.Errorf("file %s in commit %s: it is a directory: %w", name, c.Hash, ci.ErrInvalid)
	}
	return bytes.TrimSuffix(body, []byte("\n")), nil
}

// having gives the mirror with the commit in it.
func (f *Fetcher) having(ctx context.Context, s ci.Source, c *ci.Commit) (*mirror, error) {
	if c.Hash == "" {
		var err error
		if *c, err = f.resolveGit(ctx, s); err != nil {
			return nil, err
		}
	}
	if !isHash(c.Hash) || c.Ref != "" && !isRefName(c.Ref) {
		return nil, fmt.Errorf("commit %q of ref %q: want a whole commit id: %w", c.Hash, c.Ref, ci.ErrInvalid)
	}
	r, err := f.open(ctx, s.Location)
	if err != nil {
		return nil, err
	}
	m, err := f.mirrorOf(r, len(c.Hash))
	if err != nil {
		return nil, err
	}
	if _, err := m.need(ctx, c.Hash, c.Ref); err != nil {
		return nil, err
	}
	return m, nil
}
