package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

func gitSource(location, version string) ci.Source {
	return ci.Source{Type: TypeGit, Location: location, Version: version}
}

func resolve(t testing.TB, f *Fetcher, s ci.Source) ci.Commit {
	t.Helper()
	c, err := f.Resolve(t.Context(), s)
	if err != nil {
		t.Fatalf("resolve %q: %v", s.Version, err)
	}
	return c
}

func TestResolveGit(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	first := gitIn(t, dir, "rev-parse", "HEAD")
	gitIn(t, dir, "tag", "light")
	gitIn(t, dir, "tag", "-a", "-m", "notes", "v1.0")
	gitIn(t, dir, "checkout", "-q", "-b", "feature/x")
	put(t, filepath.Join(dir, "README"), "two\n")
	second := commit(t, dir, "Second\nand more\n\nBody")
	gitIn(t, dir, "checkout", "-q", "-b", "pull")
	put(t, filepath.Join(dir, "README"), "three\n")
	third := commit(t, dir, "Third")
	gitIn(t, dir, "update-ref", "refs/pull/7/head", third)
	gitIn(t, dir, "checkout", "-q", "main")
	gitIn(t, dir, "branch", "-q", "-D", "pull")

	f := New(Options{Cache: t.TempDir()})
	tests := []struct{ version, hash, ref string }{
		{"", first, "refs/heads/main"},
		{"HEAD", first, "refs/heads/main"},
		{"main", first, "refs/heads/main"},
		{"feature/x", second, "refs/heads/feature/x"},
		{"light", first, "refs/tags/light"},
		{"v1.0", first, "refs/tags/v1.0"},
		{"refs/tags/v1.0", first, "refs/tags/v1.0"},
		{"refs/heads/feature/x", second, "refs/heads/feature/x"},
		{"pr/7", third, "refs/pull/7/head"},
		{"refs/pull/7/head", third, "refs/pull/7/head"},
		{second, second, ""},
		{second[:9], second, ""},
		{"refs/heads/feature/x^{" + first + "}", first, "refs/heads/feature/x"},
	}
	for _, tt := range tests {
		c := resolve(t, f, gitSource(dir, tt.version))
		if c.Hash != tt.hash || c.Ref != tt.ref {
			t.Errorf("%q: got %s %s, want %s %s", tt.version, c.Hash, c.Ref, tt.hash, tt.ref)
		}
	}
	want := ci.Commit{
		Hash: second, Ref: "refs/heads/feature/x", Author: "Ann <ann@example.com>", Subject: "Second and more",
		Time: time.Unix(1700000001, 0).UTC(),
	}
	if c := resolve(t, f, gitSource("file://"+dir, "feature/x")); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	for version, want := range map[string]error{
		"none": ci.ErrNotFound, "abcdef12": ci.ErrNotFound, "pr/99": ci.ErrNotFound, strings.Repeat("ab", 20): ci.ErrNotFound,
		"--upload-pack=touch": ci.ErrInvalid, "a..b": ci.ErrInvalid, "main:README": ci.ErrInvalid, "a b": ci.ErrInvalid,
		"main^{abc}": ci.ErrInvalid, "refs/heads/main^{" + first: ci.ErrInvalid, "a/-b": ci.ErrInvalid, "x.lock": ci.ErrInvalid,
	} {
		if c, err := f.Resolve(t.Context(), gitSource(dir, version)); !errors.Is(err, want) {
			t.Errorf("%q: got %+v, %v, want %v", version, c, err, want)
		}
	}
	if _, err := f.Resolve(t.Context(), gitSource(t.TempDir(), "")); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("no repository: got %v", err)
	}
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	put(t, filepath.Join(dir, "run.sh"), "#!/bin/sh\n")
	put(t, filepath.Join(dir, "dos.bat"), "one\ntwo\n")
	put(t, filepath.Join(dir, "big.bin"), "version https://git-lfs.github.com/spec/v1\n")
	put(t, filepath.Join(dir, ".gitattributes"), "*.bat text eol=crlf\n*.bin filter=lfs\nhidden export-ignore\n")
	put(t, filepath.Join(dir, "hidden"), "kept\n")
	if err := errors.Join(os.Chmod(filepath.Join(dir, "run.sh"), 0o755), os.Symlink("README", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	second := commit(t, dir, "Second")
	gitIn(t, dir, "tag", "v2")
	f := New(Options{Cache: t.TempDir()})

	for version, status := range map[string]string{"main": "## main...origin/main", "v2": "## HEAD (no branch)", second: "## HEAD (no branch)"} {
		src := gitSource(dir, version)
		got := checkout(t, f, src, resolve(t, f, src))
		if s := gitIn(t, got, "status", "--porcelain", "-b"); s != status {
			t.Errorf("%s: status %q, want %q", version, s, status)
		}
		if s := gitIn(t, got, "fsck", "--no-dangling"); s != "" {
			t.Errorf("%s: fsck: %s", version, s)
		}
		if s := gitIn(t, got, "describe", "--tags"); s != "v2" {
			t.Errorf("%s: describe: %s", version, s)
		}
		if s := gitIn(t, got, "rev-list", "--count", "HEAD"); s != "2" {
			t.Errorf("%s: %s commits", version, s)
		}
		for name, want := range map[string]string{"dos.bat": "one\r\ntwo\r\n", "big.bin": "version https://git-lfs.github.com/spec/v1\n", "hidden": "kept\n", "link": "hello\n"} {
			if b, err := os.ReadFile(filepath.Join(got, name)); err != nil || string(b) != want {
				t.Errorf("%s: %s holds %q, %v", version, name, b, err)
			}
		}
		if fi, err := os.Stat(filepath.Join(got, "run.sh")); err != nil || fi.Mode().Perm()&0o100 == 0 {
			t.Errorf("run.sh: %v, %v", fi.Mode(), err)
		}
		gitIn(t, got, "fetch", "-q", "origin") // origin is where it came from
	}
	left, err := filepath.Glob(filepath.Join(f.opt.Cache, "checkout/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestShallowCheckout(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	for i := range 5 {
		put(t, filepath.Join(dir, "README"), fmt.Sprint(i))
		commit(t, dir, "More")
	}
	f := New(Options{Cache: t.TempDir(), Depth: 2})
	src := gitSource(dir, "main")
	got := checkout(t, f, src, resolve(t, f, src))
	if n := gitIn(t, got, "rev-list", "--count", "HEAD"); n != "2" {
		t.Errorf("%s commits, want 2", n)
	}
	if s := gitIn(t, got, "status", "--porcelain", "-b"); s != "## main...origin/main" {
		t.Errorf("status %q", s)
	}
}

func TestReadGitFile(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	put(t, filepath.Join(dir, "sub/buildspec.yml"), "version: 0.2\n\n")
	for link, to := range map[string]string{"in": "sub/buildspec.yml", "out": "/etc/passwd", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, dir, "Spec")
	f := New(Options{Cache: t.TempDir()})
	src := gitSource(dir, "main")
	c := resolve(t, f, src)
	for _, path := range []string{"sub/buildspec.yml", "./sub//buildspec.yml", "in"} {
		if b, err := f.ReadFile(t.Context(), src, c, path); err != nil || string(b) != "version: 0.2\n\n" {
			t.Errorf("%s: got %q, %v", path, b, err)
		}
	}
	for path, want := range map[string]error{
		"none": ci.ErrNotFound, "out": ci.ErrNotFound, "loop": ci.ErrNotFound, "sub": ci.ErrInvalid,
		"../x": ci.ErrInvalid, "a\nb": ci.ErrInvalid,
	} {
		if b, err := f.ReadFile(t.Context(), src, c, path); !errors.Is(err, want) {
			t.Errorf("%s: got %q, %v, want %v", path, b, err, want)
		}
	}
	if b, err := f.ReadFile(t.Context(), src, ci.Commit{}, "in"); err != nil || len(b) == 0 {
		t.Errorf("without a commit: got %q, %v", b, err)
	}
}

func TestSubmodules(t *testing.T) {
	t.Parallel()
	up := t.TempDir()
	lib, inner := newRepo(t), newRepo(t)
	for name, dir := range map[string]string{"lib": lib, "inner": inner} {
		if err := os.Rename(dir, filepath.Join(up, name)); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, filepath.Join(up, "lib"), "submodule", "--quiet", "add", "../inner", "in side")
	commit(t, filepath.Join(up, "lib"), "Inner")
	app := filepath.Join(up, "app")
	put(t, filepath.Join(app, "main.c"), "int main;\n")
	gitIn(t, app, "init", "-q", "-b", "main")
	gitIn(t, app, "submodule", "--quiet", "add", "../lib", "deps/lib")
	commit(t, app, "App")

	src := gitSource(app, "main")
	f := New(Options{Cache: t.TempDir(), Submodules: true})
	got := checkout(t, f, src, resolve(t, f, src))
	if b, err := os.ReadFile(filepath.Join(got, "deps/lib/in side/README")); err != nil || string(b) != "hello\n" {
		t.Errorf("nested file: %q, %v", b, err)
	}
	for _, dir := range []string{".", "deps/lib", "deps/lib/in side"} {
		if s := gitIn(t, filepath.Join(got, dir), "status", "--porcelain"); s != "" {
			t.Errorf("%s is not clean: %s", dir, s)
		}
	}
	without := New(Options{Cache: t.TempDir()})
	got = checkout(t, without, src, resolve(t, without, src))
	if e, err := os.ReadDir(filepath.Join(got, "deps/lib")); err != nil || len(e) != 0 {
		t.Errorf("without the option: %v, %v", e, err)
	}
}

func TestHostileLocations(t *testing.T) {
	t.Parallel()
	ran := filepath.Join(t.TempDir(), "ran")
	f := New(Options{Cache: t.TempDir()})
	for _, loc := range []string{
		"", "-x", "--upload-pack=touch " + ran, "ext::sh -c touch% " + ran, "fd::7", "ssh://-oProxyCommand=touch/x",
		"ssh://-x@host/x", "-oProxyCommand=x:y", "git@-oProxyCommand=x:y", "ftp://host/x", "http:///x", "file://host/x", "a\nb", "https://h/\x00",
	} {
		if _, err := f.Resolve(t.Context(), gitSource(loc, "")); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%q: got %v, want ErrInvalid", loc, err)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a location ran a program")
	}
	m := &mirror{f: f, r: remote{url: "https://example.com/o/r.git"}}
	for _, loc := range []string{"/etc", "file:///etc", "ext::sh"} {
		if _, err := m.beside(t.Context(), loc); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("submodule at %q: got %v, want ErrInvalid", loc, err)
		}
	}
	if r, err := m.beside(t.Context(), "../../p/q.git"); err != nil || r.url != "https://example.com/p/q.git" {
		t.Errorf("relative submodule: got %q, %v", r.url, err)
	}
}

// serve is a git server over HTTP that asks for a password.
func serve(t *testing.T, root, user, password string) string {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "REMOTE_USER=" + user},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	password := `p@ss'w"ord $(x)`
	url := serve(t, filepath.Dir(dir), "ann", password) + "/" + filepath.Base(dir) + "/.git"
	cache := t.TempDir()
	asked := ""
	f := New(Options{Cache: cache, Credentials: func(_ context.Context, u string) (string, string, error) {
		asked = u
		return "ann", password, nil
	}})
	src := gitSource(url, "main")
	got := checkout(t, f, src, resolve(t, f, src))
	if s := gitIn(t, got, "status", "--porcelain", "-b"); s != "## main...origin/main" {
		t.Errorf("status %q", s)
	}
	if asked != url {
		t.Errorf("asked for %q, want %q", asked, url)
	}
	inURL := strings.Replace(url, "http://", "http://ann:topsecret1@", 1)
	_, err := New(Options{Cache: t.TempDir()}).Resolve(t.Context(), gitSource(inURL, "main"))
	if !errors.Is(err, ci.ErrDenied) || strings.Contains(err.Error(), "topsecret1") {
		t.Errorf("wrong password: got %v", err)
	}
	if _, err := New(Options{Cache: t.TempDir()}).Resolve(t.Context(), gitSource(url, "main")); !errors.Is(err, ci.ErrDenied) {
		t.Errorf("no password: got %v", err)
	}
	for _, place := range []string{cache, got} {
		out, err := exec.Command("grep", "-rl", base64.StdEncoding.EncodeToString([]byte("ann:"+password))+`\|p@ss`, place).CombinedOutput()
		if err == nil || len(out) > 0 {
			t.Errorf("the password is in %s", out)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://ann:hush@h.example/o/r.git":    "https://h.example/o/r.git",
		"https://hush@h.example/o/r.git":        "https://h.example/o/r.git",
		"https://h.example/@scope/r":            "https://h.example/@scope/r",
		"https://ann:hu/sh@h.example/o":         "https://h.example/o",
		"https://ann:hu sh@h.example/o":         "https://h.example/o",
		"https://ann:h,u's\nh@h.example/o":      "https://h.example/o",
		"https://ann:hu@sh@h.example/o":         "https://h.example/o",
		"https://a:hush@h/x,https://b:hush@i/y": "https://h/x,https://i/y",
		"git@h.example:o/r":                     "git@h.example:o/r",
		"/a/b@c":                                "/a/b@c",
		"":                                      "",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
		if !strings.ContainsAny(in, " \n") {
			text := "fatal: unable to access '" + in + "': no\n\t<" + in + ">\n"
			if got, want := redact(text), strings.ReplaceAll(text, in, want); got != want {
				t.Errorf("redact(%q) = %q, want %q", text, got, want)
			}
		}
		if _, _, _, err := parseLocation(in); err != nil && strings.Contains(err.Error(), "hu") {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	url := s.URL
	f := New(Options{Cache: t.TempDir()})
	if _, err := f.Resolve(t.Context(), gitSource(url+"/x.git", "main")); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("no such repository: got %v", err)
	}
	s.Close()
	if _, err := f.Resolve(t.Context(), gitSource(url+"/x.git", "main")); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("no server: got %v", err)
	}
	if _, err := New(Options{}).Resolve(t.Context(), gitSource("/x", "main")); err == nil {
		t.Error("no cache: want an error")
	}
}

// A warm mirror is not fetched for a commit that it has, nor is the source needed any more.
func TestWarmMirrorNeedsNoSource(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	f := New(Options{Cache: t.TempDir()})
	src := gitSource(dir, "")
	c := resolve(t, f, src)
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	if b, err := f.ReadFile(t.Context(), src, c, "README"); err != nil || string(b) != "hello\n" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := f.Archive(t.Context(), src, c, io.Discard); err != nil {
		t.Error(err)
	}
	if got := resolve(t, f, gitSource(dir, c.Hash)); got.Subject != c.Subject {
		t.Errorf("got %+v", got)
	}
}

// Branches that move, vanish and change between file and folder are followed.
func TestMirrorFollows(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	f := New(Options{Cache: t.TempDir()})
	gitIn(t, dir, "branch", "topic")
	resolve(t, f, gitSource(dir, "topic"))
	gitIn(t, dir, "branch", "-D", "topic")
	gitIn(t, dir, "checkout", "-q", "-b", "topic/sub")
	for i := range maxPacks + 5 {
		put(t, filepath.Join(dir, "README"), fmt.Sprint(i))
		hash := commit(t, dir, fmt.Sprint("Change ", i))
		if c := resolve(t, f, gitSource(dir, "topic/sub")); c.Hash != hash {
			t.Fatalf("got %s, want %s", c.Hash, hash)
		}
	}
	gitIn(t, dir, "reset", "-q", "--hard", "HEAD~3")
	if c := resolve(t, f, gitSource(dir, "topic/sub")); c.Subject != fmt.Sprint("Change ", maxPacks+1) {
		t.Errorf("after a forced push: got %+v", c)
	}
	packs, err := filepath.Glob(filepath.Join(f.opt.Cache, "git/*/objects/pack/*.pack"))
	if err != nil || len(packs) > maxPacks {
		t.Errorf("%d packs, %v", len(packs), err)
	}
	src := gitSource(dir, "topic/sub")
	if s := gitIn(t, checkout(t, f, src, resolve(t, f, src)), "fsck", "--no-dangling"); s != "" {
		t.Errorf("fsck: %s", s)
	}
}

func TestForeignOwner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("giving files to another user needs root")
	}
	dir := newRepo(t)
	gitIn(t, dir, "tag", "-a", "-m", "x", "v1")
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(path, 12345, 12345))
	})
	if err != nil {
		t.Fatal(err)
	}
	f := New(Options{Cache: t.TempDir()})
	src := gitSource(dir, "v1")
	if err := f.Archive(t.Context(), src, resolve(t, f, src), io.Discard); err != nil {
		t.Error(err)
	}
}

func TestSHA256Repository(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "-b", "main", "--object-format=sha256")
	put(t, filepath.Join(dir, "README"), "hello\n")
	hash := commit(t, dir, "First")
	f := New(Options{Cache: t.TempDir()})
	src := gitSource(dir, "main")
	if got := gitIn(t, checkout(t, f, src, resolve(t, f, src)), "rev-parse", "HEAD"); got != hash {
		t.Errorf("got %s, want %s", got, hash)
	}
	if c, err := f.Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: dir}); err != nil || c.Hash != hash || c.Dirty {
		t.Errorf("directory: got %+v, %v", c, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	dir, cache := newRepo(t), t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f := New(Options{Cache: cache}) // flock tells them apart as if they were processes
			src := gitSource(dir, "main")
			c, err := f.Resolve(t.Context(), src)
			if err == nil {
				err = f.Archive(t.Context(), src, c, io.Discard)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
