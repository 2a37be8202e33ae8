package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sys/unix"
)

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sh runs git as a developer does.
func gitIn(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_AUTHOR_DATE=1700000000 +0100",
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.com", "GIT_COMMITTER_DATE=1700000001 +0000",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// newRepo makes a repository with one commit of README, on branch main.
func newRepo(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "-b", "main")
	put(t, filepath.Join(dir, "README"), "hello\n")
	commit(t, dir, "First words")
	return dir
}

func commit(t testing.TB, dir, subject string) string {
	t.Helper()
	gitIn(t, dir, "add", "-A")
	gitIn(t, dir, "commit", "-q", "-m", subject)
	return gitIn(t, dir, "rev-parse", "HEAD")
}

type packed struct {
	*tar.Header
	text string
}

func unpack(t testing.TB, r io.Reader) (map[string]packed, []string) {
	t.Helper()
	files := map[string]packed{}
	var order []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, order
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is in the tar twice", h.Name)
		}
		files[h.Name] = packed{h, string(b)}
		order = append(order, h.Name)
	}
}

func archive(t testing.TB, f *Fetcher, s ci.Source, c ci.Commit) (map[string]packed, []string) {
	t.Helper()
	var b bytes.Buffer
	if err := f.Archive(t.Context(), s, c, &b); err != nil {
		t.Fatal(err)
	}
	return unpack(t, &b)
}

// checkout unpacks an archive with tar and gives the folder.
func checkout(t testing.TB, f *Fetcher, s ci.Source, c ci.Commit) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("tar", "-x", "--no-same-owner")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.Archive(t.Context(), s, c, in); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal("tar:", err)
	}
	return dir
}

func TestDirectoryAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a/b/deep"), "deep")
	put(t, filepath.Join(dir, "run.sh"), "#!/bin/sh\n")
	put(t, filepath.Join(dir, ".hidden"), "")
	put(t, filepath.Join(dir, ".sluice/build.json"), "{}")
	put(t, filepath.Join(dir, "out/old"), "x")
	put(t, filepath.Join(dir, strings.Repeat("long", 50)+"/"+strings.Repeat("name", 30)), "long")
	put(t, filepath.Join(dir, "big"), strings.Repeat("0123456789abcdef", 200_000))
	for name, mode := range map[string]os.FileMode{"run.sh": 0o755, ".hidden": 0o600 | os.ModeSetuid, "a/b": 0o750} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link": "a/b", "broken": "/nowhere/at/all", "up": "../.."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := time.Unix(1_600_000_000, 123_456_789)
	if err := os.Chtimes(filepath.Join(dir, "run.sh"), at, at); err != nil {
		t.Fatal(err)
	}

	f := New(Options{Exclude: []string{".sluice", filepath.Join(dir, "out")}})
	src := ci.Source{Type: TypeDirectory, Location: dir}
	files, order := archive(t, f, src, ci.Commit{})
	long := strings.Repeat("long", 50)
	want := []string{".hidden", "a/", "a/b/", "a/b/deep", "big", "broken", "link", long + "/", long + "/" + strings.Repeat("name", 30), "run.sh", "up"}
	if !slices.Equal(order, want) {
		t.Fatalf("got %q, want %q", order, want)
	}
	for name, p := range files {
		if p.Uid != 0 || p.Gid != 0 || p.Uname != "" || p.Gname != "" {
			t.Errorf("%s is owned by %d:%d %q", name, p.Uid, p.Gid, p.Uname)
		}
	}
	for name, mode := range map[string]int64{".hidden": 0o600, "run.sh": 0o755, "a/b/": 0o750} {
		if got := files[name].Mode; got != mode {
			t.Errorf("mode of %s: got %o, want %o", name, got, mode)
		}
	}
	if got := files["broken"]; got.Typeflag != tar.TypeSymlink || got.Linkname != "/nowhere/at/all" {
		t.Errorf("link: %+v", got.Header)
	}
	if got := files["run.sh"].ModTime; !got.Equal(at) {
		t.Errorf("time: got %v, want %v", got, at)
	}
	if files["a/b/deep"].text != "deep" || len(files["big"].text) != 3_200_000 {
		t.Error("content differs")
	}
	if c, err := f.Resolve(t.Context(), src); err != nil || c != (ci.Commit{}) {
		t.Errorf("outside git: got %+v, %v", c, err)
	}
}

// A build tool or editor at work meanwhile does not spoil the archive.
func TestDirectoryThatChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := []string{"small", "big", "vanishing", "turning"}
	rewrite := func(i int) {
		for k, name := range names {
			path := filepath.Join(dir, name)
			size := 3000 * (i % 7)
			if name == "big" {
				size = smallFile + 300_000*(i%5)
			}
			_ = os.WriteFile(path, bytes.Repeat([]byte{'x'}, size), 0o644)
			if k >= 2 && i%2 == 0 {
				_ = os.Remove(path)
			}
			if name == "turning" && i%4 == 0 {
				_ = os.Symlink("small", path)
			}
		}
	}
	rewrite(1)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				rewrite(i)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	f := New(Options{})
	for range 60 {
		files, _ := archive(t, f, ci.Source{Type: TypeDirectory, Location: dir}, ci.Commit{})
		if _, ok := files["small"]; !ok {
			t.Fatal("a file that was always there is missing")
		}
	}
}

func TestDirectoryRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "text")
	put(t, filepath.Join(dir, "sub/buildspec.yml"), "version: 0.2")
	secret := filepath.Join(t.TempDir(), "secret")
	put(t, secret, "secret")
	for name, to := range map[string]string{"out": secret, "in": "sub/buildspec.yml"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "huge"), "")
	if err := os.Truncate(filepath.Join(dir, "huge"), maxRead+1); err != nil {
		t.Fatal(err)
	}
	f := New(Options{})
	src := ci.Source{Type: TypeDirectory, Location: dir}
	for _, path := range []string{"sub/buildspec.yml", "./sub/../sub/buildspec.yml", "in"} {
		if b, err := f.ReadFile(t.Context(), src, ci.Commit{}, path); err != nil || string(b) != "version: 0.2" {
			t.Errorf("%s: got %q, %v", path, b, err)
		}
	}
	for path, want := range map[string]error{
		"sub": ci.ErrInvalid, "pipe": ci.ErrInvalid, "huge": ci.ErrInvalid,
		"none": ci.ErrNotFound, "../x": ci.ErrInvalid, "/etc/passwd": ci.ErrInvalid, "": ci.ErrInvalid, "a\nb": ci.ErrInvalid,
	} {
		if _, err := f.ReadFile(t.Context(), src, ci.Commit{}, path); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", path, err, want)
		}
	}
	if b, err := f.ReadFile(t.Context(), src, ci.Commit{}, "out"); err == nil {
		t.Errorf("a link led out of the source, to %q", b)
	}
	for loc, want := range map[string]error{dir + "/none": ci.ErrNotFound, dir + "/file": ci.ErrInvalid} {
		if err := f.Archive(t.Context(), ci.Source{Type: TypeDirectory, Location: loc}, ci.Commit{}, io.Discard); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", loc, err, want)
		}
	}
	if _, err := f.Resolve(t.Context(), ci.Source{Type: "s3"}); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("type s3: got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ci.ErrCanceled)
	if err := f.Archive(ctx, src, ci.Commit{}, io.Discard); !errors.Is(err, ci.ErrCanceled) {
		t.Errorf("canceled: got %v", err)
	}
}

func TestResolveDirectory(t *testing.T) {
	t.Parallel()
	f := New(Options{Exclude: []string{".sluice"}})
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		want   func(c *ci.Commit)
	}{
		"clean":             {func(t *testing.T, dir string) {}, func(c *ci.Commit) {}},
		"packed":            {func(t *testing.T, dir string) { gitIn(t, dir, "gc", "-q") }, func(c *ci.Commit) {}},
		"output only":       {func(t *testing.T, dir string) { put(t, dir+"/.sluice/build.json", "") }, func(c *ci.Commit) {}},
		"ignored only":      {func(t *testing.T, dir string) { put(t, dir+"/.git/info/exclude", "*.o\n"); put(t, dir+"/a.o", "") }, func(c *ci.Commit) {}},
		"changed":           {func(t *testing.T, dir string) { put(t, dir+"/README", "other") }, func(c *ci.Commit) { c.Dirty = true }},
		"untracked":         {func(t *testing.T, dir string) { put(t, dir+"/new", "") }, func(c *ci.Commit) { c.Dirty = true }},
		"staged":            {func(t *testing.T, dir string) { put(t, dir+"/n", ""); gitIn(t, dir, "add", "n") }, func(c *ci.Commit) { c.Dirty = true }},
		"detached":          {func(t *testing.T, dir string) { gitIn(t, dir, "checkout", "-q", "--detach") }, func(c *ci.Commit) { c.Ref = "" }},
		"touched, the same": {func(t *testing.T, dir string) { put(t, dir+"/README", "hello\n") }, func(c *ci.Commit) {}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newRepo(t)
			tt.change(t, dir)
			want := ci.Commit{
				Hash: gitIn(t, dir, "rev-parse", "HEAD"), Ref: "refs/heads/main",
				Author: "Ann <ann@example.com>", Subject: "First words", Time: time.Unix(1700000001, 0).UTC(),
			}
			tt.want(&want)
			got, err := f.Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: dir})
			if err != nil || got != want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// What a repository's configuration and the caller's environment say is not obeyed.
func TestResolveDirectoryRunsNothing(t *testing.T) {
	dir := newRepo(t)
	ran := filepath.Join(t.TempDir(), "ran")
	trap := "touch " + ran + "; cat"
	for _, key := range []string{"core.fsmonitor", "filter.x.clean", "filter.x.smudge", "core.sshCommand", "diff.external"} {
		gitIn(t, dir, "config", key, trap)
	}
	put(t, filepath.Join(dir, ".gitattributes"), "* filter=x\n")
	put(t, filepath.Join(dir, "README"), "changed\n")
	t.Setenv("GIT_DIR", t.TempDir())
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
	t.Setenv("GIT_CONFIG_VALUE_0", trap)
	f := New(Options{})
	c, err := f.Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: dir})
	if err != nil || !c.Dirty || c.Subject != "First words" {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the repository ran a program")
	}
}

// A tree of another user is no trouble ("dubious ownership"), nor is git's lack of a commit.
func TestResolveDirectoryOfOthers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("giving files to another user needs root")
	}
	dir := newRepo(t)
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(path, 12345, 12345))
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{}).Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: dir})
	if err != nil || c.Dirty || c.Subject != "First words" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestUnbornBranchAndSubfolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "-b", "trunk")
	f := New(Options{})
	c, err := f.Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: dir})
	if err != nil || c != (ci.Commit{Ref: "refs/heads/trunk", Dirty: true}) {
		t.Errorf("unborn: got %+v, %v", c, err)
	}
	put(t, filepath.Join(dir, "sub/file"), "x")
	hash := commit(t, dir, "Sub")
	put(t, filepath.Join(dir, "other"), "a change elsewhere")
	c, err = f.Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: filepath.Join(dir, "sub")})
	if err != nil || c.Hash != hash || c.Dirty {
		t.Errorf("subfolder: got %+v, %v", c, err)
	}
}

func TestLinkedWorkTree(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	tree := filepath.Join(t.TempDir(), "tree")
	gitIn(t, dir, "worktree", "add", "-q", "-b", "side", tree)
	put(t, filepath.Join(tree, "more"), "more")
	hash := commit(t, tree, "On the side")
	f := New(Options{})
	src := ci.Source{Type: TypeDirectory, Location: tree}
	c, err := f.Resolve(t.Context(), src)
	if err != nil || c.Hash != hash || c.Ref != "refs/heads/side" || c.Dirty {
		t.Errorf("got %+v, %v", c, err)
	}
	got := checkout(t, f, src, c)
	if head := gitIn(t, got, "rev-parse", "HEAD"); head != hash {
		t.Errorf("HEAD is %s, want %s", head, hash)
	}
	if status := gitIn(t, got, "status", "--porcelain", "-b"); status != "## side" {
		t.Errorf("status: %q", status)
	}
}

func BenchmarkArchive20000(b *testing.B) {
	dir := b.TempDir()
	for i := range 20_000 {
		put(b, filepath.Join(dir, fmt.Sprintf("d%03d/f%05d", i/100, i)), strings.Repeat("x", i%4096))
	}
	b.Run("sluice", func(b *testing.B) {
		for b.Loop() {
			if err := New(Options{}).Archive(b.Context(), ci.Source{Type: TypeDirectory, Location: dir}, ci.Commit{}, io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tar", func(b *testing.B) {
		for b.Loop() {
			if out, err := exec.Command("sh", "-c", "tar -C "+dir+" -c . | cat >/dev/null").CombinedOutput(); err != nil {
				b.Fatal(err, string(out))
			}
		}
	})
}
