package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// top is the directory of a source, absolute and without links.
func top(location string) (string, error) {
	dir, err := filepath.Abs(location)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	var fi fs.FileInfo
	if err == nil {
		fi, err = os.Stat(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("source directory %s: there is no such directory: %w", location, ci.ErrNotFound)
	case err != nil:
		return "", fmt.Errorf("source directory: %w", err)
	case !fi.IsDir():
		return "", fmt.Errorf("source directory %s: it is not a directory: %w", location, ci.ErrInvalid)
	}
	return dir, nil
}

// archiveDir packs a directory as it is, uncommitted and ignored files too.
func (f *Fetcher) archiveDir(ctx context.Context, location string, w io.Writer) error {
	dir, err := top(location)
	if err != nil {
		return err
	}
	t := newTreeWriter(ctx, w)
	t.exact, t.skip = true, f.excluded(dir)
	git, err := findGit(dir)
	if err != nil {
		return err
	}
	if git.linked && git.work == dir {
		// A .git that only points elsewhere would point nowhere in a sandbox.
		t.skip[filepath.Join(dir, ".git")] = true
		if err := t.linkedGit(git); err != nil {
			return fmt.Errorf("pack %s: %w", git.common, err)
		}
	}
	if err := t.children(dir, ""); err != nil {
		return fmt.Errorf("pack %s: %w", location, err)
	}
	if err := t.tw.Close(); err != nil {
		return fmt.Errorf("pack %s: %w", location, err)
	}
	return nil
}

func (f *Fetcher) excluded(dir string) map[string]bool {
	skip := map[string]bool{}
	for _, e := range f.opt.Exclude {
		if !filepath.IsAbs(e) {
			e = filepath.Join(dir, e)
		} else if in, err := filepath.EvalSymlinks(filepath.Dir(e)); err == nil {
			e = filepath.Join(in, filepath.Base(e))
		}
		if e = filepath.Clean(e); e != dir {
			skip[e] = true
		}
	}
	return skip
}

// linkedGit packs the repository of a linked work tree or submodule as an
// ordinary .git: the shared part, with the work tree's own HEAD and index.
func (t *treeWriter) linkedGit(g gitDir) error {
	fi, err := os.Lstat(g.common)
	if err != nil {
		return err
	}
	if err := t.dir(".git", fi.Mode(), fi.ModTime()); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(g.common, "config"))
	if err != nil {
		return err
	}
	t.replace = map[string][]byte{".git/config": withoutWorkTree(config)}
	for _, own := range []string{"HEAD", "index"} {
		content, err := os.ReadFile(filepath.Join(g.dir, own))
		if err != nil {
			continue // no index yet
		}
		if err := t.bytes(".git/"+own, content); err != nil {
			return err
		}
	}
	for _, n := range []string{"HEAD", "index", "worktrees"} {
		t.skip[filepath.Join(g.common, n)] = true
	}
	return t.children(g.common, ".git")
}

// withoutWorkTree takes core.worktree, the way back to a submodule's files, out of a config.
func withoutWorkTree(config []byte) []byte {
	var out []byte
	for line := range bytes.Lines(config) {
		key, _, _ := bytes.Cut(line, []byte("="))
		if !strings.EqualFold(string(bytes.TrimSpace(key)), "worktree") {
			out = append(out, line...)
		}
	}
	return out
}

// cleanPath makes a path of the source from one that a person wrote.
func cleanPath(name string) (string, error) {
	clean := path.Clean(filepath.ToSlash(name))
	if !filepath.IsLocal(clean) || clean == "." || strings.ContainsAny(name, "\x00\n\r") {
		return "", fmt.Errorf("path %q: want the path of a file in the source: %w", name, ci.ErrInvalid)
	}
	return clean, nil
}

// readDirFile reads a file of a directory source. os.Root keeps links inside.
func readDirFile(location, name string) ([]byte, error) {
	dir, err := top(location)
	if err != nil {
		return nil, err
	}
	clean, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer root.Close()
	b, err := readRegular(root, clean)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("file %s in %s: %w", name, location, ci.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("read %s in %s: %w", name, location, err)
	}
	return b, nil
}

// maxRead is the size in bytes of a file that is read at once; what is larger is
// no definition.
const maxRead = 16 << 20

// readRegular reads a file that is one: a pipe would make us wait for its other
// end, a device might never end.
func readRegular(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is %s; want a file: %w", kind(info.Mode()), ci.ErrInvalid)
	case info.Size() > maxRead:
		return nil, fmt.Errorf("it is %d MiB; want %d at most: %w", info.Size()>>20, maxRead>>20, ci.ErrInvalid)
	}
	return io.ReadAll(io.LimitReader(f, maxRead))
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
