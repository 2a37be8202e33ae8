package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sys/unix"
)

const crashEnv = "SLUICE_SOURCE_TEST"

// TestFetchProcess is not a test of its own: TestKilledFetch runs it as the process to kill.
func TestFetchProcess(t *testing.T) {
	args := strings.Split(os.Getenv(crashEnv), "\n")
	if len(args) != 2 {
		t.SkipNow()
	}
	f := New(Options{Cache: args[0], Git: "git"})
	src := gitSource(args[1], "main")
	if err := f.Archive(t.Context(), src, resolve(t, f, src), io.Discard); err != nil {
		t.Fatal(err)
	}
}

// stallingGit is a git whose fetch, half done, tells a pipe and waits for another.
func stallingGit(t *testing.T, dir string) (path, half, goOn string) {
	t.Helper()
	path, half, goOn = filepath.Join(dir, "git"), filepath.Join(dir, "half"), filepath.Join(dir, "on")
	if out, err := exec.Command("mkfifo", half, goOn).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, `#!/bin/sh
if [ "$1" = fetch ]; then
	mkdir -p "$GIT_DIR/refs/heads"
	echo junk > "$GIT_DIR/objects/pack/tmp_pack_junk"
	: > "$GIT_DIR/packed-refs.lock"
	: > "$GIT_DIR/refs/heads/main.lock"
	echo half > `+half+`
	read x < `+goOn+`
	exit 1
fi
exec `+real+` "$@"
`)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path, half, goOn
}

// Killed in the middle of a fetch: while its git lives on nobody else touches
// the mirror; then it is as good as new.
func TestKilledFetch(t *testing.T) {
	t.Parallel()
	dir, cache := newRepo(t), t.TempDir()
	src := gitSource(dir, "main")
	tools := t.TempDir()
	path, half, goOn := stallingGit(t, tools)
	cmd := exec.Command(os.Args[0], "-test.run=^TestFetchProcess$")
	cmd.Env = append(os.Environ(), crashEnv+"="+cache+"\n"+dir, "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(half); err != nil { // blocks until the fetch is under way
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	f := New(Options{Cache: cache})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	f.waiting = func() { cancel(ci.ErrCanceled) }
	if _, err := f.Resolve(ctx, src); !errors.Is(err, ci.ErrCanceled) {
		t.Errorf("while the orphan runs: got %v, want to wait for it until canceled", err)
	}
	f.waiting = nil
	if err := os.WriteFile(goOn, []byte("on\n"), 0); err != nil {
		t.Fatal(err)
	}
	c := resolve(t, f, src)
	if got := checkout(t, f, src, c); gitIn(t, got, "status", "--porcelain") != "" {
		t.Error("the checkout is not clean")
	}
	left, err := filepath.Glob(filepath.Join(cache, "git/*/objects/pack/tmp_*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// countingGit is a git that tells a pipe and waits for another before its n-th
// command, or when that has done its work.
func countingGit(t *testing.T, n int, after bool) (dir, reached, goOn string) {
	t.Helper()
	dir = t.TempDir()
	reached, goOn = filepath.Join(dir, "reached"), filepath.Join(dir, "on")
	for _, p := range []string{reached, goOn} {
		if err := unix.Mkfifo(p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	stop := "echo x > " + reached + "; read x < " + goOn
	before, then := stop, ""
	if after {
		before, then = ":", stop
	}
	put(t, filepath.Join(dir, "git"), fmt.Sprintf(`#!/bin/sh
echo x >> %[1]s/count
if [ $(wc -l < %[1]s/count) != %[2]d ]; then exec %[3]s "$@"; fi
%[4]s
%[3]s "$@"
code=$?
%[5]s
exit $code
`, dir, n, real, before, then))
	if err := os.Chmod(filepath.Join(dir, "git"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, reached, goOn
}

// killedAt runs a fetch and checkout, and kills it at its n-th git command;
// false when there is none. The command itself lives on.
func killedAt(t *testing.T, cache, repo string, n int, after bool) bool {
	t.Helper()
	path, reached, goOn := countingGit(t, n, after)
	pipe, err := os.OpenFile(reached, os.O_RDWR, 0) // so that neither side waits for the other to open
	if err != nil {
		t.Fatal(err)
	}
	there := make(chan bool, 1)
	go func() {
		_, err := pipe.Read(make([]byte, 1))
		there <- err == nil
	}()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFetchProcess$")
	cmd.Env = append(os.Environ(), crashEnv+"="+cache+"\n"+repo, "PATH="+path+":"+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-there:
		_ = cmd.Process.Kill()
		<-ended
		if err := os.WriteFile(goOn, []byte("on\n"), 0); err != nil {
			t.Fatal(err)
		}
		return true
	case err := <-ended:
		if err != nil {
			t.Fatalf("without a kill: %v", err)
		}
		_ = pipe.Close()
		<-there
		return false
	}
}

// Killed before and after each of its git commands, over and over, on one
// mirror: the next one finds its way, also while the orphaned command goes on.
func TestKilledAtEveryCommand(t *testing.T) {
	t.Parallel()
	dir, cache := newRepo(t), t.TempDir()
	f := New(Options{Cache: cache})
	src := gitSource(dir, "main")
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			put(t, filepath.Join(dir, "README"), fmt.Sprint(n, after))
			hash := commit(t, dir, "More")
			if !killedAt(t, cache, dir, n, after) {
				if n < 5 { // look, look again, fetch, look, read-tree
					t.Errorf("there were only %d git commands", n-1)
				}
				break
			}
			c := resolve(t, f, src)
			if got := gitIn(t, checkout(t, f, src, c), "status", "--porcelain"); got != "" || c.Hash != hash {
				t.Fatalf("killed at command %d: commit %s, want %s; status %q", n, c.Hash, hash, got)
			}
		}
	}
}

// What the environment says to git is not obeyed, and what we say is.
func TestEnvironmentDoesNotLeak(t *testing.T) {
	dir := newRepo(t)
	ran := filepath.Join(t.TempDir(), "ran")
	hooks := t.TempDir()
	put(t, filepath.Join(hooks, "post-checkout"), "#!/bin/sh\ntouch "+ran+"\n")
	put(t, filepath.Join(hooks, "reference-transaction"), "#!/bin/sh\ntouch "+ran+"\n")
	for _, h := range []string{"post-checkout", "reference-transaction"} {
		if err := os.Chmod(filepath.Join(hooks, h), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	global := filepath.Join(t.TempDir(), "gitconfig")
	put(t, global, "[core]\n\thooksPath = "+hooks+"\n\tautocrlf = true\n[url \"/nowhere/\"]\n\tinsteadOf = /\n")
	for name, value := range map[string]string{
		"GIT_CONFIG_GLOBAL": global, "GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere", "GIT_INDEX_FILE": "/nowhere/i",
		"GIT_OBJECT_DIRECTORY": "/nowhere/o", "GIT_SSH_COMMAND": "touch " + ran, "GIT_TRACE": ran, "GIT_CONFIG_PARAMETERS": "'core.autocrlf=true'",
		"HOME": filepath.Dir(global), "XDG_CONFIG_HOME": filepath.Dir(global),
	} {
		t.Setenv(name, value)
	}
	f := New(Options{Cache: filepath.Join(hooks, "cache")})
	src := gitSource(dir, "main")
	files, _ := archive(t, f, src, resolve(t, f, src))
	if got := files["README"].text; got != "hello\n" {
		t.Errorf("README holds %q", got)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the environment made git run or write something")
	}
}

func TestNoGit(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	f := New(Options{Cache: t.TempDir(), Git: "no-such-git"})
	if c, err := f.Resolve(t.Context(), ci.Source{Type: TypeDirectory, Location: dir}); err != nil || c.Hash == "" || c.Subject != "First words" {
		t.Errorf("directory: got %+v, %v", c, err)
	}
	if _, err := f.Resolve(t.Context(), gitSource(dir, "main")); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "install") {
		t.Errorf("git: got %v", err)
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"", "main", "pr/1", "refs/heads/x^{" + strings.Repeat("a", 40) + "}", "-x", "a..b", "abcdef1", "x^{", "refs/", "a/.b", "v1.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVersion(s)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if v.hash != "" && !isHash(v.hash) || v.hash == "" && len(v.refs) == 0 {
			t.Fatalf("%q became %+v", s, v)
		}
		for _, ref := range v.refs {
			if ref != "HEAD" && !strings.HasPrefix(ref, "refs/") || strings.ContainsAny(ref, " \n\x00*?[:^~\\") {
				t.Fatalf("%q became %+v", s, v)
			}
		}
	})
}

// helper is how git tells "ext::sh -c x", a program to run, from a host and a
// path (url_is_local_not_ssh and transport_get in its source).
var helper = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)

func FuzzParseLocation(f *testing.F) {
	for _, s := range []string{"", "/a", "../a", "https://u:p@h/x", "ssh://git@h:22/x", "git@h:o/r", "ext::sh -c x", "-x", "file:///x", "a:b", "a:b::", "a::b", "http://[::1]/x", "x://", "ext:", "h:-x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, _, password, err := parseLocation(s)
		if err != nil {
			return
		}
		if r.url == "" || r.url[0] == '-' || strings.ContainsAny(r.url, "\n\r\x00") || r.local != filepath.IsAbs(r.url) {
			t.Fatalf("%q became %+v", s, r)
		}
		if helper.MatchString(r.url) {
			t.Fatalf("%q became %+v, for which git runs a program", s, r)
		}
		if len(password) > 8 && strings.Contains(r.url, password) {
			t.Fatalf("%q keeps its password: %+v", s, r)
		}
	})
}
