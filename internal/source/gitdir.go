package source

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// gitDir is where the repository of a directory is. The zero value: there is none.
type gitDir struct {
	work   string // top of the work tree
	dir    string // what belongs to this work tree: HEAD, index
	common string // what all work trees share: objects, refs
	linked bool   // .git is a file that points to dir
}

// findGit looks for .git in dir and above it.
func findGit(dir string) (gitDir, error) {
	for {
		dot := filepath.Join(dir, ".git")
		fi, err := os.Stat(dot)
		switch {
		case err == nil && fi.IsDir():
			if _, err := os.Stat(filepath.Join(dot, "HEAD")); err == nil {
				return gitDir{work: dir, dir: dot, common: dot}, nil
			}
		case err == nil && fi.Mode().IsRegular():
			return linkedGitDir(dir, dot)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return gitDir{}, fmt.Errorf("look for git: %w", err)
		}
		up := filepath.Dir(dir)
		if up == dir {
			return gitDir{}, nil
		}
		dir = up
	}
}

func linkedGitDir(work, dot string) (gitDir, error) {
	b, err := readSmall(dot)
	if err != nil {
		return gitDir{}, fmt.Errorf("read where the git repository is: %w", err)
	}
	to, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "gitdir: ")
	if !ok {
		return gitDir{}, nil // some other file
	}
	g := gitDir{work: work, dir: from(work, to), linked: true}
	g.common = g.dir
	if b, err := readSmall(filepath.Join(g.dir, "commondir")); err == nil {
		g.common = from(g.dir, strings.TrimSpace(string(b)))
	}
	if _, err := os.Stat(g.common); err != nil {
		return gitDir{}, nil // points nowhere: to us, not a repository
	}
	return g, nil
}

func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// resolve reads which commit a ref stands at, and the branch it stands for; ""
// for what there is not.
func (g gitDir) resolve(name string) (hash, ref string) {
	if name != "HEAD" {
		ref = name
	}
	for range 5 { // symbolic refs may point to symbolic refs, not for ever
		b, err := readSmall(filepath.Join(g.dir, name))
		if err != nil && g.dir != g.common {
			b, err = readSmall(filepath.Join(g.common, name))
		}
		if err != nil {
			return g.packedRef(name), ref
		}
		text := strings.TrimSpace(string(b))
		to, symbolic := strings.CutPrefix(text, "ref: ")
		if !symbolic {
			if !isHash(text) {
				return "", ref
			}
			return text, ref
		}
		if to = strings.TrimSpace(to); !strings.HasPrefix(to, "refs/") || !filepath.IsLocal(to) {
			return "", ref
		}
		name, ref = to, to
	}
	return "", ref
}

func (g gitDir) packedRef(name string) string {
	f, err := os.Open(filepath.Join(g.common, "packed-refs"))
	if err != nil {
		return ""
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if hash, ref, ok := strings.Cut(sc.Text(), " "); ok && ref == name && isHash(hash) {
			return hash
		}
	}
	return ""
}

// looseCommit reads a commit that is not in a pack, without git.
func (g gitDir) looseCommit(hash string) []byte {
	f, err := os.Open(filepath.Join(g.common, "objects", hash[:2], hash[2:]))
	if err != nil {
		return nil
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(z, 1<<20))
	if err != nil || !bytes.HasPrefix(b, []byte("commit ")) {
		return nil
	}
	_, b, _ = bytes.Cut(b, []byte{0})
	return b
}

// parseCommit reads author, time and subject of a raw commit into c.
func parseCommit(raw []byte, c *ci.Commit) {
	header, message, _ := strings.Cut(string(raw), "\n\n")
	for line := range strings.Lines(header) {
		if v, ok := strings.CutPrefix(line, "author "); ok {
			c.Author, _ = identity(v)
		} else if v, ok := strings.CutPrefix(line, "committer "); ok {
			_, c.Time = identity(v)
		}
	}
	paragraph, _, _ := strings.Cut(strings.TrimLeft(message, "\n"), "\n\n")
	c.Subject = strings.ToValidUTF8(strings.Join(strings.Fields(paragraph), " "), "\uFFFD")
	c.Author = strings.ToValidUTF8(c.Author, "\uFFFD")
}

// identity splits "Name <mail> seconds zone".
func identity(v string) (who string, at time.Time) {
	i := strings.LastIndexByte(v, '>')
	if i < 0 {
		return strings.TrimSpace(v), time.Time{}
	}
	fields := strings.Fields(v[i+1:])
	if len(fields) > 0 {
		if sec, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			at = time.Unix(sec, 0).UTC()
		}
	}
	return strings.TrimSpace(v[:i+1]), at
}

// resolveDir reads the commit without git where it can; whether there are
// changes on top of it only git can tell.
func (f *Fetcher) resolveDir(ctx context.Context, location string) (ci.Commit, error) {
	dir, err := top(location)
	if err != nil {
		return ci.Commit{}, err
	}
	g, err := findGit(dir)
	if err != nil || g.dir == "" {
		return ci.Commit{}, err
	}
	var c ci.Commit
	c.Hash, c.Ref = g.resolve("HEAD")
	if c.Hash == "" {
		c.Dirty = true // all there is, is uncommitted
		return c, nil
	}
	shadow, err := g.shadow(c.Hash)
	if err != nil {
		return ci.Commit{}, fmt.Errorf("read the state of %s: %w", location, err)
	}
	defer os.RemoveAll(shadow)
	raw := g.looseCommit(c.Hash)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		c.Dirty, err = f.dirty(ctx, g, shadow, dir)
		return err
	})
	if raw == nil {
		eg.Go(func() (err error) {
			cmd := f.git(ctx, nil, "cat-file", "commit", c.Hash)
			cmd.Env = append(cmd.Env, g.env(shadow)...)
			raw, err = run(ctx, cmd)
			return err
		})
	}
	if err := eg.Wait(); errors.Is(err, exec.ErrNotFound) {
		c.Dirty = false // without git nobody can tell
	} else if err != nil {
		return ci.Commit{}, fmt.Errorf("read the state of %s: %w", location, err)
	}
	parseCommit(raw, &c)
	return c, nil
}

// shadow makes a git directory that stands in for the real one, whose
// configuration may name programs to run (fsmonitor, filters, hooks) and which
// git refuses to read when it belongs to somebody else.
func (g gitDir) shadow(hash string) (string, error) {
	dir, err := os.MkdirTemp("", "sluice-git-")
	if err != nil {
		return "", err
	}
	files := map[string]string{"HEAD": hash + "\n", "config": g.plainConfig(len(hash))}
	for _, d := range []string{"refs", "objects"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	shared, _ := filepath.Glob(filepath.Join(g.dir, "sharedindex.*"))
	for _, s := range shared {
		err = errors.Join(err, os.Symlink(s, filepath.Join(dir, filepath.Base(s))))
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// plainConfig keeps of a repository's configuration what says how its files are
// compared, and nothing that names a program.
func (g gitDir) plainConfig(hashLen int) string {
	var b strings.Builder
	b.WriteString(formatConfig(hashLen) + "\tbare = false\n")
	fmt.Fprintf(&b, "\texcludesfile = %s\n", strconv.Quote(filepath.Join(g.common, "info", "exclude")))
	text, _ := readSmall(filepath.Join(g.common, "config")) // without one, the defaults hold
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.ToLower(line)
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.ToLower(strings.TrimSpace(value))
		if section != "[core]" {
			continue
		}
		switch key {
		case "filemode", "autocrlf", "eol", "symlinks", "ignorecase", "precomposeunicode":
			switch value {
			case "true", "false", "input", "lf", "crlf", "native":
				fmt.Fprintf(&b, "\t%s = %s\n", key, value)
			}
		}
	}
	return b.String()
}

// env points git to the shadow, and through it to the real objects and index.
func (g gitDir) env(shadow string) []string {
	return []string{
		"GIT_DIR=" + shadow,
		"GIT_WORK_TREE=" + g.work,
		"GIT_INDEX_FILE=" + filepath.Join(g.dir, "index"),
		"GIT_OBJECT_DIRECTORY=" + filepath.Join(g.common, "objects"),
	}
}

// dirty says whether the files below dir differ from the commit.
func (f *Fetcher) dirty(ctx context.Context, g gitDir, shadow, dir string) (bool, error) {
	args := []string{"status", "--porcelain", "--no-renames", "--ignore-submodules=dirty", "--", ":/"}
	rel, err := filepath.Rel(g.work, dir)
	if err != nil {
		return false, err
	}
	if rel != "." {
		args[len(args)-1] = ":(top,literal)" + rel
	}
	for path := range f.excluded(dir) {
		if rel, err := filepath.Rel(g.work, path); err == nil && filepath.IsLocal(rel) {
			args = append(args, ":(top,exclude,literal)"+rel)
		}
	}
	cmd := f.git(ctx, nil, args...)
	cmd.Dir = g.work
	cmd.Env = append(cmd.Env, g.env(shadow)...)
	return answers(ctx, cmd)
}

// readSmall reads a file of git's own that is short unless somebody means harm.
// It does not wait for the other end of a pipe in its place.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// isHash says whether s is a whole object name, of SHA-1 or SHA-256.
func isHash(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	_, err := hex.DecodeString(s)
	return err == nil && s == strings.ToLower(s)
}
