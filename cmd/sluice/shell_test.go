package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// typist sits at a terminal: it reads what a program shows and types answers.
type typist struct {
	t    *testing.T
	tty  *os.File
	mu   sync.Mutex
	more *sync.Cond
	all  bytes.Buffer
	gone bool
}

// sit starts a program on a terminal of 80 columns.
func sit(t *testing.T, dir string, env []string, args ...string) (*typist, *exec.Cmd) {
	t.Helper()
	link := filepath.Join(t.TempDir(), "sluice")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 80, Rows: 24})
	if err != nil {
		t.Fatalf("a pseudo-terminal is needed: %v", err)
	}
	ty := &typist{t: t, tty: tty}
	ty.more = sync.NewCond(&ty.mu)
	go func() { // ends with EIO when the program has gone
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			ty.mu.Lock()
			ty.all.Write(buf[:n])
			ty.gone = err != nil
			ty.more.Broadcast()
			ty.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = tty.Close() })
	return ty, cmd
}

// sees waits until the text has been shown.
func (ty *typist) sees(text string) {
	ty.t.Helper()
	late := time.AfterFunc(60*time.Second, func() {
		ty.mu.Lock()
		defer ty.mu.Unlock()
		ty.gone = true
		ty.more.Broadcast()
	})
	defer late.Stop()
	ty.mu.Lock()
	defer ty.mu.Unlock()
	for !strings.Contains(ty.all.String(), text) {
		if ty.gone {
			ty.t.Fatalf("never saw %q in:\n%s", text, ty.all.String())
		}
		ty.more.Wait()
	}
}

func (ty *typist) types(text string) {
	ty.t.Helper()
	if _, err := ty.tty.WriteString(text); err != nil {
		ty.t.Fatal(err)
	}
}

// TestShell opens a shell where a command failed, and finds there what that
// command saw; afterwards the build ends as it would have.
func TestShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spec := "version: 0.2\nphases:\n  build:\n    commands:\n      - mkdir deep; cd deep; export SEEN=variable\n      - echo made > file; exit 6\n"
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"SLUICE_HOME=" + filepath.Join(t.TempDir(), "home"), "TERM=xterm", "ENV=", "PS1=$ "}
	ty, cmd := sit(t, dir, env, "run", "--shell")
	ty.sees("a shell where buildspec.yml:6 failed")
	ty.types("echo \"<$(cat file)-$SEEN-${PWD##*/}-$(stty size | tr ' ' x)>\"\r")
	ty.sees("<made-variable-deep-24x80>")
	if err := pty.Setsize(ty.tty, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	// The new size comes by a signal and a message: ask until it is there.
	ty.types("until [ \"$(stty size)\" = '30 100' ]; do :; done; echo \"re\"\"sized\"\r")
	ty.sees("resized")
	ty.types("exit\r")
	ty.sees("FAILED")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("exit code %d (%v), want %d", cmd.ProcessState.ExitCode(), err, exitFailed)
	}
}

// TestKeepAndEnter keeps the sandbox of a failed build and enters it later, by a
// command of its own, as the summary says.
func TestKeepAndEnter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spec := "version: 0.2\nphases:\n  build:\n    commands:\n      - cd /tmp; left=plain; echo kept > note; exit 6\n"
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"SLUICE_HOME=" + filepath.Join(t.TempDir(), "home"), "TERM=xterm", "PS1=$ "}
	ty, cmd := sit(t, dir, env, "run", "--keep")
	ty.sees("Enter it: sluice shell ")
	ty.sees("FAILED")
	_ = cmd.Wait() // its exit code is the build's
	ty, cmd = sit(t, dir, env, "shell")
	ty.sees("in the sandbox of ")
	ty.types("echo \"<$PWD-$left-$(cat note)>\"\r")
	ty.sees("</tmp-plain-kept>")
	ty.types("exit\r")
	if err := cmd.Wait(); err != nil {
		t.Errorf("sluice shell: %v", err)
	}
	ty, cmd = sit(t, dir, env, "sweep", "--all")
	ty.sees("1 kept sandbox removed")
	if err := cmd.Wait(); err != nil {
		t.Errorf("sluice sweep: %v", err)
	}
}
