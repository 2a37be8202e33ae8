package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/client"
)

// served is a `sluice serve` of a test, in a process of its own.
type served struct {
	t    *testing.T
	exe  string
	data string
	url  string
	cmd  *exec.Cmd
	log  string // file
	stop func() // asks it to end, and waits until it has
}

// serverIn starts a server on a data folder, with more flags, and waits until it says that it is ready.
func serverIn(t *testing.T, data string, more ...string) *served {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, exe: filepath.Join(t.TempDir(), "sluice"), data: data, log: filepath.Join(t.TempDir(), "log")}
	if err := os.Symlink(exe, s.exe); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ready-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	hear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hear.Close() }()
	s.cmd = exec.Command(s.exe, "serve", "--data", data, "--listen", "127.0.0.1:0")
	s.cmd.Args = append(s.cmd.Args, more...)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "HOME="+data)
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = log
	err = s.cmd.Start()
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(ended)
		_ = hear.Close()
	}()
	s.stop = func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	t.Cleanup(s.stop)
	buf := make([]byte, 4096)
	n, err := hear.Read(buf)
	if err != nil {
		t.Fatalf("the server ended before it was ready:\n%s", s.said())
	}
	_, s.url, _ = strings.Cut(string(buf[:n]), "STATUS=")
	return s
}

// run is one command against the server.
func (s *served) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.Command(s.exe, args...)
	cmd.Env = append(os.Environ(), "SLUICE_URL="+s.url, "SLUICE_TOKEN="+s.token())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is run for commands that have to succeed.
func (s *served) must(args ...string) string {
	s.t.Helper()
	out, errs, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("sluice %s: exit %d\n%s%s\nserver:\n%s", strings.Join(args, " "), code, out, errs, s.said())
	}
	return out
}

// said is what the server logged.
func (s *served) said() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

func (s *served) client() *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, s.token())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// whole reads the log of a build to its end.
func (s *served) whole(project string, number int64) string {
	s.t.Helper()
	r, err := s.client().Log(s.t.Context(), project, number, client.LogOptions{Follow: true})
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// ended waits for the end of a build.
func (s *served) ended(project string, number int64) client.Build {
	s.t.Helper()
	err := s.client().Events(s.t.Context(), project, number, 0, func(client.Event) error { return nil })
	b, also := s.client().Build(s.t.Context(), project, number)
	if err = errors.Join(err, also); err != nil {
		s.t.Fatalf("%v; server:\n%s", err, s.said())
	}
	return b
}

func (s *served) token() string {
	text, err := os.ReadFile(filepath.Join(s.data, "admin-token"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// kill ends the server as a machine does that has run out of memory.
func (s *served) kill() {
	s.t.Helper()
	pid := s.cmd.Process.Pid
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	// Its database is free when it is gone. WNOWAIT: cmd.Wait has it to reap.
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil && !errors.Is(err, unix.ECHILD) {
		s.t.Fatal(err)
	}
}

// project makes a source of one buildspec, and the project of it.
func (s *served) project(name, commands string, more ...string) {
	s.t.Helper()
	dir := s.t.TempDir()
	text := "version: 0.2\nphases: {build: {commands: " + commands + "}}\n" + strings.Join(more, "\n")
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.must("project", "create", name, "--source", dir, "--isolation", "none")
}

func builds(t *testing.T, text string) []client.Build {
	t.Helper()
	var all []client.Build
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return all
}

func TestServe(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	if info, err := os.Stat(filepath.Join(data, "admin-token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin-token: %v, %v; want mode 0600", info.Mode(), err)
	}
	s.project("app", `["echo one", "mkdir out && echo two > out/file && cat out/file"]`, "artifacts: {files: ['**/*'], base-directory: out}")

	out, errs, code := s.run("build", "start", "app", "--follow", "--env", "A=1")
	if out != "one\ntwo\n" || code != 0 || !strings.Contains(errs, "SUCCEEDED") {
		t.Errorf("got exit %d, %q, %q", code, out, errs)
	}
	s.project("broken", `["echo before", "exit 7"]`)
	if out, errs, code := s.run("build", "start", "broken", "--follow"); out != "before\n" || code != exitFailed || !strings.Contains(errs, "FAILED") {
		t.Errorf("a build that fails: exit %d, %q, %q", code, out, errs)
	}
	s.project("wrong", `{`)
	if _, errs, code := s.run("build", "start", "wrong", "--follow"); code != exitUsage || !strings.Contains(errs, "buildspec.yml:3:1: error") {
		t.Errorf("a buildspec that does not compile: exit %d, %q", code, errs)
	}
	all := builds(t, s.must("build", "list", "--project", "app", "--json"))
	if len(all) != 1 || all[0].Number != 1 || all[0].Status != client.Succeeded {
		t.Errorf("got %+v", all)
	}
	if got := s.must("logs", "app/1"); got != "one\ntwo\n" {
		t.Errorf("logs: got %q", got)
	}
	if got := s.must("logs", "app/1", "--step", "build/BUILD/1"); got != "two\n" {
		t.Errorf("logs of a step: got %q", got)
	}
	into := t.TempDir()
	s.must("artifact", "get", "app/1", "--output", into)
	if zip, err := filepath.Glob(filepath.Join(into, "*.zip")); err != nil || len(zip) != 1 {
		t.Errorf("artifacts: got %v, %v; want one ZIP", zip, err)
	}

	if _, errs, code := (&served{t: t, exe: s.exe, url: s.url, data: data}).run("serve", "--data", data, "--listen", "127.0.0.1:0"); code == 0 || !strings.Contains(errs, "in use by process") {
		t.Errorf("a second server on the same data: exit %d, %q", code, errs)
	}
	if got := s.must("build", "retry", "app/1", "--follow"); got != "one\ntwo\n" {
		t.Errorf("retry: got %q", got)
	}
	s.must("build", "delete", "app/1")
	if _, errs, code := s.run("logs", "app/1"); code != exitUsage || !strings.Contains(errs, "not found") {
		t.Errorf("logs of a deleted build: exit %d, %q", code, errs)
	}
	if left, err := filepath.Glob(filepath.Join(data, "builds", all[0].ID)); err != nil || len(left) != 0 {
		t.Errorf("of a deleted build there is still %v", left)
	}
	s.must("project", "delete", "app")
}

// A server that is killed leaves its builds running; the next one takes them up,
// and nobody can tell from the log, whether read live or later.
func TestServerKilledInTheMiddleOfACommand(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	gate := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	s.project("app", fmt.Sprintf(`["echo before", "echo waiting; cat %s; echo after", "echo last"]`, gate))
	s.must("build", "start", "app")
	open, err := os.OpenFile(gate, os.O_WRONLY, 0) // returns when the build's cat reads
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	next := serverIn(t, data)
	if _, err := open.WriteString("through the gate\n"); err != nil {
		t.Fatal(err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	const want = "before\nwaiting\nthrough the gate\nafter\nlast\n"
	if got := next.whole("app", 1); got != want {
		t.Errorf("followed: got %q, want %q", got, want)
	}
	if b := next.ended("app", 1); b.Status != client.Succeeded {
		t.Errorf("got %s: %s", b.Status, b.Reason)
	}
	if got := next.must("logs", "app/1"); got != want {
		t.Errorf("later: got %q, want %q", got, want)
	}
}

// Killed again and again while builds come in and run: each that was accepted
// runs once, whole, and nothing is left over.
func TestServerKilledAmongManyBuilds(t *testing.T) {
	t.Parallel()
	const rounds, each = 4, 6
	data := filepath.Join(t.TempDir(), "data")
	ran := filepath.Join(t.TempDir(), "ran")
	s := serverIn(t, data)
	s.project("app", fmt.Sprintf(`["echo $CODEBUILD_BUILD_NUMBER >> %s", "echo ok"]`, ran))
	for range rounds {
		for range each {
			if _, _, err := s.client().StartBuild(t.Context(), "app", client.StartBuild{}); err != nil {
				t.Fatal(err)
			}
		}
		s.kill() // wherever they are by now
		s = serverIn(t, data)
	}
	for n := int64(1); n <= rounds*each; n++ {
		if b := s.ended("app", n); b.Status != client.Succeeded {
			t.Errorf("build %d is %s: %s", n, b.Status, b.Reason)
		}
		if got := s.whole("app", n); got != "ok\n" {
			t.Errorf("build %d has the log %q", n, got)
		}
	}
	s.stop()
	if left, err := filepath.Glob(filepath.Join(data, "sandboxes", "*")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	text, err := os.ReadFile(ran)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(text)) {
		times[strings.TrimSpace(line)]++
	}
	for n := 1; n <= rounds*each; n++ {
		if times[fmt.Sprint(n)] != 1 {
			t.Errorf("build %d ran %d times", n, times[fmt.Sprint(n)])
		}
	}
}

func TestWhatTheServerRefusesIsSaid(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["true"]`)
	s.must("build", "start", "app", "--follow")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an unknown project":       {[]string{"build", "start", "nope"}, exitUsage, `project "nope"`},
		"a name twice":             {[]string{"project", "create", "app", "--source", "/tmp"}, exitFault, "app"},
		"a slip in a command":      {[]string{"project", "crate", "app", "--source", "/tmp"}, exitUsage, `did you mean "create"`},
		"no artifacts":             {[]string{"artifact", "get", "app/1"}, exitOK, "app/1 has no artifacts"},
		"no build":                 {[]string{"build", "show", "app/99"}, exitUsage, "not found"},
		"no number":                {[]string{"build", "show", "app"}, exitUsage, "PROJECT/NUMBER"},
		"everything wrong at once": {[]string{"project", "create", "x", "--executor", "moon", "--env", "1=2"}, exitUsage, "--source is missing"},
		"no such server":           {[]string{"build", "list", "--server", "http://127.0.0.1:1"}, exitFault, "is the server running"},
		"an empty token":           {[]string{"build", "list", "--token-file", "/dev/null"}, exitUsage, "no token"},
	} {
		if out, errs, code := s.run(c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q, %q; want exit %d and %q", name, code, out, errs, c.code, c.want)
		}
	}
}
