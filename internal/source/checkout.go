package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// staleAfter is the age at which what a killed process left is removed.
const staleAfter = 24 * time.Hour

// maxNesting is how deep submodules may be in submodules.
const maxNesting = 8

func (f *Fetcher) archiveGit(ctx context.Context, s ci.Source, c ci.Commit, w io.Writer) error {
	m, err := f.having(ctx, s, &c)
	if err != nil {
		return err
	}
	t := newTreeWriter(ctx, w)
	if err := m.checkout(ctx, c, t, "", 0); err != nil {
		return fmt.Errorf("check out %s of %s: %w", c.Hash, m.r.url, err)
	}
	if err := t.tw.Close(); err != nil {
		return fmt.Errorf("check out %s of %s: %w", c.Hash, m.r.url, err)
	}
	return nil
}

// checkout packs the files of a commit and a repository around them as name/....
// A mirror that turns out to be damaged is replaced for the next build.
func (m *mirror) checkout(ctx context.Context, c ci.Commit, t *treeWriter, name string, nesting int) error {
	return m.afterwards(ctx, m.pack(ctx, c, t, name, nesting))
}

// pack does checkout's work. Git writes the files into a temporary folder, as only
// it knows how to convert them; meanwhile the repository is packed straight from
// the mirror.
func (m *mirror) pack(ctx context.Context, c ci.Commit, t *treeWriter, name string, nesting int) error {
	unlock, _, err := m.lock(ctx, m.dir+".packs", unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	tmp, err := scratch(filepath.Join(filepath.Dir(filepath.Dir(m.dir)), "checkout"), "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	work, index := filepath.Join(tmp, "work"), filepath.Join(tmp, "index")
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	eg, fileCtx := errgroup.WithContext(ctx)
	eg.Go(func() error {
		cmd := m.git(fileCtx, "read-tree", "--reset", "-u", c.Hash)
		cmd.Env = append(cmd.Env, "GIT_WORK_TREE="+work, "GIT_INDEX_FILE="+index)
		cmd.Dir = work
		_, err := m.run(fileCtx, cmd)
		return err
	})
	objects := m.dir
	if m.f.opt.Depth > 0 {
		objects = filepath.Join(tmp, "shallow")
		err = m.shallow(ctx, c, objects)
	}
	if err == nil {
		err = t.dir(join(name, ".git"), 0o755, time.Now())
	}
	if err == nil {
		err = t.objects(objects, join(name, ".git"))
	}
	if err = errors.Join(err, eg.Wait()); err != nil {
		return err
	}
	var subs []submodule
	if m.f.opt.Submodules {
		if subs, err = m.submodules(ctx, c.Hash, filepath.Join(work, ".gitmodules")); err != nil {
			return err
		}
	}
	if err := m.metadata(c, t, join(name, ".git"), subs); err != nil {
		return err
	}
	if err := t.file(index, join(name, ".git/index")); err != nil {
		return err
	}
	if err := t.children(work, name); err != nil {
		return err
	}
	return m.nested(ctx, subs, t, name, nesting)
}

// objects packs the object store, and the mark of where history was cut.
func (t *treeWriter) objects(dir, name string) error {
	for _, d := range []string{"/objects", "/refs"} {
		if err := t.dir(name+d, 0o755, time.Now()); err != nil {
			return err
		}
	}
	if err := t.children(filepath.Join(dir, "objects"), name+"/objects"); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, "shallow")); err == nil {
		return t.file(filepath.Join(dir, "shallow"), name+"/shallow")
	}
	return nil
}

// shallow makes a repository at dir with the last commits only.
func (m *mirror) shallow(ctx context.Context, c ci.Commit, dir string) error {
	if err := skeleton(dir, formatConfig(len(c.Hash))+"\tbare = true\n"); err != nil {
		return err
	}
	from := remote{url: m.dir, local: true}
	args := append([]string{"fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head", fmt.Sprintf("--depth=%d", m.f.opt.Depth)}, from.options()...)
	cmd := m.f.contact(ctx, from, append(args, "--", "file://"+m.dir, c.Hash)...)
	cmd.Env = append(cmd.Env, "GIT_DIR="+dir)
	_, err := run(ctx, cmd)
	return err
}

// metadata packs HEAD, config and refs. A branch is checked out by its name,
// anything else is a detached HEAD. Origin is the repository, without credentials.
func (m *mirror) metadata(c ci.Commit, t *treeWriter, git string, subs []submodule) error {
	head, refs := c.Hash, map[string]string{}
	config := formatConfig(len(c.Hash)) + "\tbare = false\n\tlogallrefupdates = true\n" +
		"[remote \"origin\"]\n\turl = " + quote(m.r.url) + "\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
	if branch, ok := strings.CutPrefix(c.Ref, "refs/heads/"); ok {
		head = "ref: " + c.Ref
		refs[c.Ref] = c.Hash
		config += "[branch " + quote(branch) + "]\n\tremote = origin\n\tmerge = " + quote(c.Ref) + "\n"
		refs["refs/remotes/origin/"+branch] = c.Hash
	}
	for _, s := range subs {
		config += "[submodule " + quote(s.name) + "]\n\tactive = true\n\turl = " + quote(s.r.url) + "\n"
	}
	if m.f.opt.Depth == 0 {
		all, err := (gitDir{dir: m.dir, common: m.dir}).refs()
		if err != nil {
			return err
		}
		for name, hash := range all {
			if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
				name = "refs/remotes/origin/" + branch
			} else if !strings.HasPrefix(name, "refs/tags/") {
				continue
			}
			if _, known := refs[name]; !known {
				refs[name] = hash
			}
		}
	}
	var packed strings.Builder
	for _, name := range sortedKeys(refs) {
		packed.WriteString(refs[name] + " " + name + "\n")
	}
	files := []struct{ name, text string }{{"HEAD", head + "\n"}, {"config", config}, {"packed-refs", packed.String()}}
	for _, f := range files {
		if err := t.bytes(git+"/"+f.name, []byte(f.text)); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// quote writes a value for a git configuration file. There are no line breaks in it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// refs lists all refs, loose over packed, as git has it.
func (g gitDir) refs() (map[string]string, error) {
	out := map[string]string{}
	loose := func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || d.IsDir() || strings.HasSuffix(p, ".lock") {
			return err
		}
		b, err := readSmall(p)
		if err != nil {
			return nil
		}
		rel, err := filepath.Rel(g.common, p)
		if hash := strings.TrimSpace(string(b)); err == nil && isHash(hash) {
			out[path.Clean(filepath.ToSlash(rel))] = hash
		}
		return err
	}
	// Loose ones first: packing moves refs the other way.
	if err := filepath.WalkDir(filepath.Join(g.common, "refs"), loose); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(g.common, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		hash, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if _, known := out[name]; ok && !known && isHash(hash) && isRefName(name) {
			out[name] = hash
		}
	}
	return out, nil
}
