package executortest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

func runSteps(t *testing.T, s Suite) {
	b := s.open(t)
	dirs := b.Dirs()
	for _, c := range []struct {
		name   string
		cmd    ci.Command
		output string
		code   int
		signal string
	}{
		{"order of both streams", ci.Command{Script: "echo 1; echo 2 >&2; echo 3; echo 4 >&2"}, "1\n2\n3\n4\n", 0, ""},
		{"exit code", ci.Command{Script: "exit 42"}, "", 42, ""},
		{"signal", ci.Command{Script: "kill -9 $$"}, "", 137, "killed"},
		{"last statement counts", ci.Command{Script: "false; true"}, "", 0, ""},
		{"not found", ci.Command{Script: "exec 2>/dev/null; nosuchcommand"}, "", 127, ""},
		{"standard input is empty", ci.Command{Script: "cat; echo $?"}, "0\n", 0, ""},
		{"devices", ci.Command{Script: "echo a > /dev/stderr; echo b > /dev/stdout; echo c > /dev/null"}, "a\nb\n", 0, ""},
		{"source directory", ci.Command{Script: "pwd"}, dirs.Source + "\n", 0, ""},
		{"other directory", ci.Command{Script: "pwd", Dir: "/"}, "/\n", 0, ""},
		{"environment", ci.Command{Script: `echo "$A|$B"`, Env: []string{"A=1", "B=x\ny", "A=2"}}, "2|x\ny\n", 0, ""},
		{"home", ci.Command{Script: `echo $HOME`}, dirs.Home + "\n", 0, ""},
		{"temporary files", ci.Command{Script: `echo x > "$T/f" && cat "$T/f"`, Env: []string{"T=" + dirs.Temp}}, "x\n", 0, ""},
		{"standard error apart", ci.Command{Script: "echo a; echo b >&2", Capture: true}, "a\n", 0, ""},
		{"many lines", ci.Command{Script: "i=0\nwhile [ $i -lt 3 ]; do\necho $i\ni=$((i+1))\ndone"}, "0\n1\n2\n", 0, ""},
		{"background child", ci.Command{Script: "sleep 1000 & echo on"}, "on\n", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.on(t)
			b.want(c.cmd, c.output, c.code)
			_, x := b.run(c.cmd)
			if x.Signal != c.signal {
				t.Errorf("signal %q, want %q", x.Signal, c.signal)
			}
			if x.Ended.IsZero() || time.Since(x.Ended) > patience {
				t.Errorf("ended at %v", x.Ended)
			}
		})
	}
	t.Run("impossible", func(t *testing.T) {
		for text, cmd := range map[string]ci.Command{
			"nosuchshell":     {Shell: "nosuchshell"},
			"/no/such/dir":    {Dir: "/no/such/dir"},
			"nosuchuser":      {User: "nosuchuser"},
			"/no/such/sh":     {Shell: "/no/such/sh"},
			"environment var": {Env: []string{"A=" + strings.Repeat("x", 4<<20)}},
		} {
			out, x := b.on(t).run(cmd)
			if x.Code != 126 && x.Code != 127 || !strings.Contains(out, text) {
				t.Errorf("%s: exit %d, %q; want 126 or 127 and a reason", text, x.Code, clip(out))
			}
		}
	})
	t.Run("bash", func(t *testing.T) {
		if !s.Bash {
			t.Skip("no bash in the sandbox: " + s.Why)
		}
		b.on(t).want(ci.Command{Shell: "bash", Script: `[[ a == a ]] && x=(1 2) && echo "${x[1]}"`}, "2\n", 0)
	})
	t.Run("run as", func(t *testing.T) {
		if s.User == "" {
			t.Skip("cannot become another user: " + s.Why)
		}
		b := b.on(t)
		b.want(ci.Command{User: s.User, Script: "id -un; echo e > /dev/stderr; A=1; cd /tmp", Session: "as", Dir: "/"}, s.User+"\ne\n", 0)
		b.want(ci.Command{Script: "echo $A; pwd; id -u", Session: "as"}, "1\n/tmp\n0\n", 0)
	})
	t.Run("use of the processor", func(t *testing.T) {
		_, x := b.on(t).run(ci.Command{Script: "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"})
		if x.Usage.CPUSeconds <= 0 || x.Usage.PeakMemory <= 0 {
			t.Errorf("usage %+v of a command that counted", x.Usage)
		}
		if !s.Usage {
			return
		}
		if u, err := b.Usage(b.ctx); err != nil || u.CPUSeconds <= 0 || u.PeakMemory <= 0 {
			t.Errorf("usage of the sandbox: %+v, %v", u, err)
		}
	})
}

// horror is a word in double quotes with all that shells treat apart.
const horror = "\"it's \\\"q\\\" \\$x \\\\ \\` * ~\n\té\""

func runSession(t *testing.T, s Suite) {
	b := s.open(t)
	for name, steps := range map[string][]string{
		"directory":    {"mkdir -p 'a b'; cd 'a b'", `[ "${PWD##*/}" = 'a b' ] && [ "$(pwd)" = "$PWD" ]`},
		"exported":     {"export A='x  y'", `[ "$(sh -c 'echo "$A"')" = 'x  y' ]`},
		"plain":        {"A=1", `[ "$A" = 1 ] && [ -z "$(sh -c 'echo $A')" ]`},
		"quoting":      {"A=" + horror, `[ "$A" = ` + horror + ` ]`},
		"set -eux":     {"set -eux; A=1", `[ "$A" = 1 ]; case $- in *[eux]*) exit 9;; esac`},
		"exit":         {"A=1; cd /; exit 0; A=2", `[ "$A" = 1 ] && [ "$PWD" = / ]`},
		"subshell":     {"A=1; (cd /; A=2)", `[ "$A" = 1 ] && [ "$PWD" != / ]`},
		"killed shell": {"A=1", "(A=2; exit 0); kill -9 $$ || A=3", `[ "$A" = 1 ]`},
	} {
		t.Run(name, func(t *testing.T) {
			b := b.on(t)
			for i, text := range steps {
				out, x := b.run(ci.Command{Script: text, Session: t.Name()})
				if x.Code != 0 && !strings.Contains(text, "kill -9") {
					t.Errorf("step %d %q: exit %d, %q", i, text, x.Code, out)
				}
			}
		})
	}
	t.Run("another client goes on", func(t *testing.T) {
		b.on(t).want(ci.Command{Script: "A=7; cd /", Session: "over"}, "", 0)
		s.again(t, b).want(ci.Command{Script: "echo $A $PWD", Session: "over"}, "7 /\n", 0)
	})
}

func runOutput(t *testing.T, s Suite) {
	b := s.open(t)
	t.Run("every offset", func(t *testing.T) {
		b := b.on(t)
		p := b.start(ci.Command{Script: `printf 'a\000b\377\r\n\033[1mend'`})
		want := []byte("a\x00b\xff\r\n\x1b[1mend")
		for from := range int64(len(want) + 3) {
			if got := b.output(p, from); !bytes.Equal(got, want[min(from, int64(len(want))):]) {
				t.Errorf("from %d: %q", from, got)
			}
		}
		b.wait(p)
		if got := b.output(p, 0); !bytes.Equal(got, want) {
			t.Errorf("after the end: %q", got)
		}
	})
	t.Run("ten megabytes without a newline", func(t *testing.T) {
		b := b.on(t)
		const size = 10 << 20
		p := b.start(ci.Command{Script: "head -c 10485760 /dev/zero | tr '\\0' x"})
		for _, from := range []int64{0, 1, 1 << 20, size - 1, size} {
			got := b.output(p, from)
			if int64(len(got)) != size-from || bytes.ContainsFunc(got, func(r rune) bool { return r != 'x' }) {
				t.Errorf("from %d: %d bytes, want %d", from, len(got), size-from)
			}
		}
	})
	t.Run("as it comes", func(t *testing.T) {
		b := b.on(t)
		fifo := b.Dirs().Temp + "/gate"
		p := b.start(ci.Command{Script: "mkfifo " + fifo + "; echo first; cat " + fifo + "; exit 5"})
		b.seen(p, "first\n")
		b.want(ci.Command{Script: "echo second > " + fifo}, "", 0)
		if got := string(b.output(p, 0)); got != "first\nsecond\n" {
			t.Errorf("got %q", got)
		}
		if x := b.wait(p); x.Code != 5 {
			t.Errorf("exit %d", x.Code)
		}
	})
	t.Run("of a background child", func(t *testing.T) {
		b := b.on(t)
		fifo := b.Dirs().Temp + "/later"
		b.want(ci.Command{Script: "mkfifo " + fifo + "; (cat " + fifo + "; echo done > " + fifo + ") & echo on"}, "on\n", 0)
		b.want(ci.Command{Script: "echo late > " + fifo + "; cat " + fifo + " >/dev/null"}, "late\n", 0)
	})
}

func runStop(t *testing.T, s Suite) {
	b := s.open(t)
	stop := func(t *testing.T, script string, grace time.Duration) (string, ci.Exit) {
		b := b.on(t)
		p := b.start(ci.Command{Script: script})
		b.seen(p, "ready\n")
		if err := p.Stop(b.ctx, grace); err != nil {
			t.Fatalf("stop: %v", err)
		}
		x := b.wait(p)
		if err := p.Stop(b.ctx, grace); err != nil {
			t.Errorf("stop after the end: %v", err)
		}
		return string(b.output(p, 0)), x
	}
	t.Run("nicely", func(t *testing.T) {
		out, x := stop(t, "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.01; done", patience)
		if out != "ready\nbye\n" && !strings.Contains(out, "bye") || x.Code != 9 {
			t.Errorf("%q, %+v", out, x)
		}
	})
	t.Run("by signal", func(t *testing.T) {
		if _, x := stop(t, "echo ready; exec sleep 1000", patience); x.Code != 143 || x.Signal != "terminated" {
			t.Errorf("%+v", x)
		}
	})
	t.Run("one that will not hear", func(t *testing.T) {
		if _, x := stop(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done", 50*time.Millisecond); x.Code != 137 || x.Signal != "killed" {
			t.Errorf("%+v", x)
		}
	})
	t.Run("the whole group", func(t *testing.T) {
		_, _ = stop(t, strings.ReplaceAll("(trap '' TERM; exec sleep N) & sleep N & echo ready; wait", "N", unique(1)), 50*time.Millisecond)
		out, _ := b.on(t).run(ci.Command{Script: alive("sleep", unique(1))})
		if out != "" {
			t.Errorf("left running: %s", out)
		}
	})
}

// unique is a number of seconds that no other test on the machine sleeps for.
func unique(n int) string { return strconv.Itoa(10*(1_000_000+os.Getpid()) + n) }

// alive is a script that prints the processes with this command line.
func alive(argv ...string) string {
	return fmt.Sprintf(`exec 2>/dev/null; for p in /proc/[0-9]*; do if [ "$(tr '\0' ' ' < $p/cmdline 2>/dev/null)" = %q ]; then echo $p; fi; done`, strings.Join(argv, " ")+" ")
}

func runRacing(t *testing.T, s Suite) {
	b := s.open(t)
	var all sync.WaitGroup
	outputs := make([]string, 30)
	for i := range outputs {
		all.Go(func() {
			found, err := s.Open(t).Open(b.ctx, s.Placement(b.job))
			if err != nil {
				t.Errorf("open %d: %v", i, err)
				return
			}
			if found.Fresh() {
				t.Errorf("open %d made a second sandbox", i)
			}
			p, err := found.Start(b.ctx, ci.Command{ID: b.job.Step("BUILD/0"), Script: "echo ran >> once; cat once; exit 3"})
			if err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			c := &box{Sandbox: found, t: t, ctx: b.ctx, job: b.job}
			outputs[i] = string(c.output(p, 0))
			if x := c.wait(p); x.Code != 3 {
				t.Errorf("wait %d: %+v", i, x)
			}
		})
	}
	all.Wait()
	for i, out := range outputs {
		if out != "ran\n" {
			t.Errorf("client %d saw %q, want one run", i, out)
		}
	}
}
