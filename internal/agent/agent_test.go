package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// An agent waits for every child of its process, so tests run it in a process of
// its own: this test binary, started again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "test-agent" {
		os.Exit(Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// sandbox is an agent for one test.
type sandbox struct {
	*Client
	dirs   ci.Dirs
	socket string
	cmd    *exec.Cmd
	done   chan struct{} // closed when the agent's process has ended
}

func startAgent(t testing.TB, change ...func(*Settings)) *sandbox {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // run-as users walk through
		t.Fatal(err)
	}
	s := Settings{
		Socket: filepath.Join(dir, "agent.sock"),
		Dirs:   ci.Dirs{Source: dir + "/src", Home: dir + "/home", Temp: dir + "/tmp"},
		Spool:  dir + "/spool",
		Env:    []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir + "/home"},
	}
	for _, d := range []string{"src", "home", "tmp", "spool"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range change {
		f(&s)
	}
	return runAgent(t, s)
}

func runAgent(t testing.TB, s Settings) *sandbox {
	t.Helper()
	ready, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	s.ReadyFD = 3
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "test-agent", file)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if got, _ := io.ReadAll(ready); string(got) != "ready\n" {
		t.Fatalf("agent said %q, want ready", got)
	}
	b := &sandbox{
		Client: &Client{Dial: func(ctx context.Context) (net.Conn, error) { return Dial(ctx, s.Socket) }},
		dirs:   s.Dirs, socket: s.Socket, cmd: cmd, done: make(chan struct{}),
	}
	go func() {
		defer close(b.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = b.Shutdown(ctx)
		select {
		case <-b.done:
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			t.Error("the agent did not end after Shutdown")
		}
	})
	return b
}

var lastID atomic.Int64

func nextID() ci.StepID { return ci.StepID(fmt.Sprintf("b/j/BUILD/%d", lastID.Add(1))) }

// run runs a script to its end.
func (b *sandbox) run(t testing.TB, cmd ci.Command) (string, ci.Exit) {
	t.Helper()
	if cmd.ID == "" {
		cmd.ID = nextID()
	}
	p, err := b.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	return output0(t, p), wait(t, p)
}

func wait(t testing.TB, p ci.Process) ci.Exit {
	t.Helper()
	x, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func output0(t testing.TB, p ci.Process) string {
	t.Helper()
	r, err := p.Output(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestScript(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, script string
		cmd          ci.Command
		want         string
		code         int
		signal       string
	}{
		{name: "output", script: "echo out; echo err >&2; echo more", want: "out\nerr\nmore\n"},
		{name: "code", script: "exit 7", code: 7},
		{name: "false", script: "false", code: 1},
		{name: "masked failure", script: "false; true", code: 0},
		{name: "errexit", script: "set -e\nfalse\necho no", code: 1},
		{name: "signal", script: "kill -9 $$", code: 137, signal: "killed"},
		{name: "term", script: "kill -TERM $$", code: 143, signal: "terminated"},
		{name: "child signal", script: "sh -c 'kill -9 $$'", code: 137, want: "?"},
		{name: "line number", script: "\nnosuchcommand", code: 127, want: "?5: nosuchcommand"},
		{name: "directory", script: "pwd; echo $PWD", want: b.dirs.Source + "\n" + b.dirs.Source + "\n"},
		{name: "environment", script: `echo "$A/$B"`, cmd: ci.Command{Env: []string{"A=1", "B=2", "A=3"}}, want: "3/2\n"},
		{name: "stdin", script: "cat; read x; echo $?", want: "1\n"},
		{name: "dev stderr", script: "echo a > /dev/stderr; echo b > /dev/stdout", want: "a\nb\n"},
		{name: "capture", script: "echo a; echo b >&2", cmd: ci.Command{Capture: true}, want: "a\n"},
		{name: "bash", script: `x=(1 2); echo ${x[1]}`, cmd: ci.Command{Shell: "bash"}, want: "2\n"},
		{name: "path", script: `echo hi`, cmd: ci.Command{Shell: "/bin/bash"}, want: "hi\n"},
		{name: "no shell", cmd: ci.Command{Shell: "fish"}, code: 127, want: `?the shell "fish" was not found`},
		{name: "no shell path", cmd: ci.Command{Shell: "/no/sh"}, code: 127, want: "?/no/sh does not exist"},
		{name: "not a shell", cmd: ci.Command{Shell: "/etc/passwd"}, code: 126, want: "?not a program"},
		{name: "no user", cmd: ci.Command{User: "nosuch"}, code: 127, want: `?user "nosuch" does not exist`},
		{name: "no directory", cmd: ci.Command{Dir: "/no/dir"}, code: 127, want: "?directory /no/dir does not exist"},
		{name: "big environment", cmd: ci.Command{Env: []string{"A=" + strings.Repeat("x", 3<<20)}}, code: 126, want: "?too big"},
		{name: "background", script: "sleep 1000 & echo on", want: "on\n"},
		{name: "nothing in argv", script: "tr '\\0' ' ' </proc/$$/cmdline | grep -c '^[^ ]*sh [^ ]*/script.sh $'", want: "1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.cmd.Script = c.script
			out, x := b.run(t, c.cmd)
			if x.Code != c.code || x.Signal != c.signal {
				t.Errorf("exit %d %q, want %d %q; output:\n%s", x.Code, x.Signal, c.code, c.signal, out)
			}
			if part, ok := strings.CutPrefix(c.want, "?"); ok {
				if !strings.Contains(out, part) {
					t.Errorf("output %q, want %q in it", out, part)
				}
			} else if out != c.want {
				t.Errorf("output %q, want %q", out, c.want)
			}
			if x.Ended.IsZero() {
				t.Error("no time of end")
			}
		})
	}
}
