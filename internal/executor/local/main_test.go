package local

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
)

// TestMain lets the test binary be what sluice is to a sandbox: its first process.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == Argv0 {
		os.Exit(Main())
	}
	executortest.RunClient(client)
	os.Exit(m.Run())
}

func openSandbox(t testing.TB, e *Executor, rt ci.Runtime) ci.Sandbox {
	t.Helper()
	job := ci.NewBuildID(time.Now()).Job("test", 1)
	s, err := e.Open(t.Context(), ci.Placement{Job: job, Runtime: rt})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// sh runs a script and answers its whole output and exit code.
func sh(t testing.TB, s ci.Sandbox, script string, opts ...func(*ci.Command)) (string, ci.Exit) {
	t.Helper()
	c := ci.Command{ID: ci.StepID(ci.NewBuildID(time.Now())), Script: script, Shell: "sh"}
	for _, o := range opts {
		o(&c)
	}
	p, err := s.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("start %q: %v", script, err)
	}
	out, err := p.Output(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	x, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text)), x
}

func TestOpenRunClose(t *testing.T) {
	t.Parallel()
	for _, isolation := range levels(t) {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			e := New(Config{Root: root})
			s, err := e.Open(t.Context(), ci.Placement{Job: "b/job", Runtime: ci.Runtime{Isolation: isolation}})
			if err != nil {
				t.Fatal(err)
			}
			if !s.Fresh() || !strings.HasPrefix(s.Placed().Isolation, isolation+": ") {
				t.Errorf("fresh %v, placed %q", s.Fresh(), s.Placed().Isolation)
			}
			if out, x := sh(t, s, "pwd; echo x >file; exit 7"); out != s.Dirs().Source || x.Code != 7 {
				t.Errorf("got %q, exit %d; want %q, exit 7", out, x.Code, s.Dirs().Source)
			}
			again, err := e.Open(t.Context(), ci.Placement{Job: "b/job"})
			if err != nil {
				t.Fatal(err)
			}
			if out, _ := sh(t, again, "cat file"); out != "x" || again.Fresh() || again.Placed().Isolation != s.Placed().Isolation {
				t.Errorf("found again: file %q, fresh %v, placed %+v", out, again.Fresh(), again.Placed())
			}
			for range 2 {
				if err := s.Close(t.Context()); err != nil {
					t.Errorf("close: %v", err)
				}
			}
			if left, _ := os.ReadDir(root); len(left) > 0 {
				t.Errorf("closed, and left %v", left)
			}
		})
	}
}

// BenchmarkFloor is what the machine takes, under its present load, to start this
// binary and to run a shell.
func BenchmarkFloor(b *testing.B) {
	for b.Loop() {
		c := exec.Command(os.Args[0], "-test.list=^$")
		if err := c.Run(); err != nil {
			b.Fatal(err)
		}
		if err := exec.Command("sh", "-c", "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenRunClose is the whole life of a sandbox with one command in it.
func BenchmarkOpenRunClose(b *testing.B) {
	for _, isolation := range levels(b) {
		b.Run(isolation, func(b *testing.B) {
			e := New(Config{Root: b.TempDir()})
			var opened, ran, closed time.Duration
			for b.Loop() {
				start := time.Now()
				s := openSandbox(b, e, ci.Runtime{Isolation: isolation})
				opened += time.Since(start)
				start = time.Now()
				if _, x := sh(b, s, "true"); x.Code != 0 {
					b.Fatal(x)
				}
				ran += time.Since(start)
				start = time.Now()
				if err := s.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
				closed += time.Since(start)
			}
			for name, d := range map[string]time.Duration{"open": opened, "run": ran, "close": closed} {
				b.ReportMetric(d.Seconds()*1000/float64(b.N), name+"-ms")
			}
		})
	}
}

// levels are the isolation levels that this machine has.
func levels(t testing.TB) []string {
	if _, err := New(Config{}).findRunsc(); err != nil {
		t.Log(err)
		return []string{Plain, Sandboxed}
	}
	return []string{Plain, Sandboxed, GVisor}
}
