package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/client"
)

// busy is a load of n running and n waiting jobs.
func busy(n int) client.Load {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	l := client.Load{Time: now, Capacity: client.Share{CPUs: 8, Memory: 16e9}, Used: client.Share{CPUs: 8, Memory: 4e9}}
	for i := range n {
		l.Running = append(l.Running, client.LoadJob{Project: "web", Number: int64(i + 1), Job: "build", Executor: "docker", Phase: "BUILD",
			Takes: client.Share{CPUs: 2, Memory: 1e9}, Since: now.Add(-time.Duration(i) * time.Second)})
		l.Waiting = append(l.Waiting, client.LoadJob{Project: "app", Number: int64(i + 1), Job: "build", Since: now.Add(-time.Minute), For: "processors",
			Detail: "8 of 8 in use by web #1, web #2, web #3\x1b[2J\x07"})
	}
	l.Projects = []client.LoadProject{{Project: "web", Running: n, Takes: client.Share{CPUs: 8, Memory: 4e9}}, {Project: "app", Waiting: n}}
	return l
}

func TestDrawTop(t *testing.T) {
	t.Parallel()
	got := drawTop(busy(1), topLook{})
	want := `sluice 12:00:00   1 running, 1 waiting
CPU     [####################] 8 of 8 taken
memory  [#####...............] 4.0 GB of 16.0 GB taken

RUNNING  JOB    WHERE   PHASE  CPUS  MEMORY  FOR
web/1    build  docker  BUILD  2     1.0 GB  0.00s

WAITING  JOB    FOR         SINCE  WHY
app/1    build  processors  1m00s  8 of 8 in use by web #1, web #2, web #3 [2J

PROJECT  RUNNING  WAITING  CPUS      MEMORY
web      1        0        8 (100%)  4.0 GB (25%)
app      0        1        -         -
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	idle := drawTop(client.Load{Others: client.LoadProject{Running: 2}}, topLook{})
	if !strings.Contains(idle, "2 running, 0 waiting") || !strings.Contains(idle, "may not see") || !strings.Contains(idle, "0 taken, no limit") {
		t.Errorf("got\n%s", idle)
	}
}

// Whatever the size of the screen, what is drawn stays on it.
func TestTopFitsTheScreen(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 300} {
		for _, width := range []int{1, 12, 40, 80, 300} {
			for _, height := range []int{1, 5, 12, 24, 100} {
				text := drawTop(busy(n), topLook{width: width, height: height, live: true, err: errors.New("no\nroute")})
				lines := strings.Split(text, "\r\n")
				if len(lines) > height {
					t.Errorf("%d jobs on %dx%d: %d lines", n, width, height, len(lines))
				}
				for _, line := range lines {
					line = strings.NewReplacer(clearRight, "", clearBelow, "").Replace(line)
					if utf8.RuneCountInString(line) > width || strings.ContainsAny(line, "\n\x1b\x07") {
						t.Errorf("%d jobs on %dx%d: %q", n, width, height, line)
					}
				}
			}
		}
	}
	if got := drawTop(busy(300), topLook{width: 80, height: 24, live: true}); strings.Count(got, "… ") < 2 {
		t.Errorf("what has no room is not counted:\n%s", got)
	}
}

// TestTop watches a server at a terminal until it has seen enough.
func TestTop(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	gate := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	s.project("held", fmt.Sprintf("['cat %s']", gate))
	env := []string{"SLUICE_URL=" + s.url, "SLUICE_TOKEN=" + s.token(), "TERM=xterm", "NO_COLOR="}
	ty, cmd := sit(t, t.TempDir(), env, "top", "--interval", "200ms")
	ty.sees(enterScreen)
	ty.sees("0 running, 0 waiting")
	s.must("build", "start", "held")
	ty.sees("held/1") // without anybody asking
	ty.sees("BUILD")
	if err := pty.Setsize(ty.tty, &pty.Winsize{Cols: 200, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	ty.types("xyz") // which mean nothing
	out := s.must("top")
	if !strings.Contains(out, "held/1") || strings.Contains(out, "\x1b") {
		t.Errorf("not at a terminal: got %q", out)
	}
	if out := s.must("top", "--json"); !strings.Contains(out, `"project": "held"`) {
		t.Errorf("got %s", out)
	}
	f, err := os.OpenFile(gate, os.O_WRONLY, 0) // lets the build end
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	s.ended("held", 1)
	ty.types("q")
	ty.sees(leaveScreen)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after q: %v", err)
	}
	for name, end := range map[string]func(*typist, int){
		"Ctrl-C":  func(ty *typist, _ int) { ty.types("\x03") },
		"SIGTERM": func(_ *typist, pid int) { _ = unix.Kill(pid, unix.SIGTERM) },
	} {
		ty, cmd := sit(t, t.TempDir(), env, "top")
		ty.sees("0 running, 0 waiting")
		end(ty, cmd.Process.Pid)
		ty.sees(leaveScreen)
		if err := cmd.Wait(); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	// A server that is gone for a while is said to be, and no reason to give up.
	ty, cmd = sit(t, t.TempDir(), env, "top", "--interval", "200ms")
	ty.sees("0 running, 0 waiting")
	s.stop()
	ty.sees("does not answer")
	ty.types("q")
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the server's end: %v", err)
	}
}
