package local

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// filled is an executor whose sandboxes are made when fill is called, so that a
// test knows what there is.
func filled(t *testing.T, n int, shapes ...shape) *Executor {
	t.Helper()
	e := New(Config{Root: t.TempDir()})
	e.spares.keep, e.spares.ready, e.spares.poke = n, map[shape][]*spare{}, make(chan struct{}, 1)
	e.spares.shapes = shapes
	if err := e.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.dropSpares(context.Background()); err != nil {
			t.Error(err)
		}
		if err := e.Sweep(context.Background(), func(ci.JobID) bool { return false }); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(e.cfg.Root); err != nil || len(left) != 0 {
			t.Errorf("left in the state folder: %v, %v", left, err)
		}
	})
	return e
}

func openIn(t *testing.T, e *Executor, p ci.Placement) *Sandbox {
	t.Helper()
	s, err := e.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Sandbox)
}

// output runs a command and gives what it printed.
func output(t *testing.T, s ci.Sandbox, script string) string {
	t.Helper()
	p, err := s.Start(t.Context(), ci.Command{ID: ci.StepID("step-" + script), Script: script, Shell: "sh"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := p.Output(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestASandboxMadeAheadBecomesTheJobs(t *testing.T) {
	for _, isolation := range []string{Plain, Sandboxed} {
		t.Run(isolation, func(t *testing.T) {
			e := filled(t, 1, shape{isolation: isolation, network: "host"})
			pid := e.spares.ready[e.spares.shapes[0]][0].rec.Process.PID
			p := ci.Placement{Job: "b1/build", Runtime: ci.Runtime{Isolation: isolation, Memory: 256 << 20, CPUs: 0.5}}
			s := openIn(t, e, p)
			if s.rec.Process.PID != pid || !s.Fresh() {
				t.Fatalf("got process %d, fresh %v; want the one made ahead, %d, fresh", s.rec.Process.PID, s.Fresh(), pid)
			}
			if s.Placed().Memory != 256<<20 || s.Placed().CPUs != 0.5 {
				t.Errorf("placed: %+v", s.Placed())
			}
			if limitsHold(t).holds("memory") {
				if got := number(s.rec.Groups.file("memory", "memory.limit_in_bytes", "memory.max"), ""); got != 256<<20 {
					t.Errorf("the memory limit is %d", got)
				}
			}
			if got := output(t, s, "echo hello; pwd >/dev/null"); got != "hello\n" {
				t.Errorf("got %q", got)
			}
			// Another process finds it, as the job's, and not fresh.
			again := openIn(t, New(e.cfg), p)
			if again.rec.Process.PID != pid || again.Fresh() {
				t.Errorf("found: process %d, fresh %v", again.rec.Process.PID, again.Fresh())
			}
			// A sweep leaves it to its job.
			if err := New(e.cfg).Sweep(t.Context(), func(id ci.JobID) bool { return id == p.Job }); err != nil {
				t.Fatal(err)
			}
			if got := output(t, again, "echo still here"); got != "still here\n" {
				t.Errorf("after a sweep: got %q", got)
			}
			// There was one; the next is made as ever.
			other := openIn(t, e, ci.Placement{Job: "b2/build", Runtime: ci.Runtime{Isolation: isolation}})
			if other.rec.Process.PID == pid {
				t.Error("two jobs have one sandbox")
			}
			for _, s := range []*Sandbox{s, other} {
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if s.rec.Process.alive() {
				t.Error("its agent outlived it")
			}
		})
	}
}

func TestOnlyASandboxOfTheSameShapeIsTaken(t *testing.T) {
	e := filled(t, 1, shape{isolation: Sandboxed, network: "host"})
	for job, r := range map[ci.JobID]ci.Runtime{
		"b/plain":   {Isolation: Plain},
		"b/network": {Network: "none"},
	} {
		s := openIn(t, e, ci.Placement{Job: job, Runtime: r})
		if _, err := os.Readlink(folderOf(e.cfg.Root, job).path()); err == nil {
			t.Errorf("%s got one made ahead", job)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := len(e.spares.ready[e.spares.shapes[0]]); n != 1 {
		t.Errorf("%d are left, want 1", n)
	}
}

func TestADeadSandboxIsNotHandedOut(t *testing.T) {
	e := filled(t, 2, shape{isolation: Plain, network: "host"})
	list := e.spares.ready[e.spares.shapes[0]]
	if err := list[0].rec.Process.kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-list[0].child.ended
	s := openIn(t, e, ci.Placement{Job: "b/build", Runtime: ci.Runtime{Isolation: Plain}})
	if s.rec.Process.PID != list[1].rec.Process.PID {
		t.Errorf("got process %d, want the living one's %d", s.rec.Process.PID, list[1].rec.Process.PID)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Killed between the two steps of handing over: the job gets another, and what
// was on the way to it is swept when the job is over.
func TestKilledWhileHandingOver(t *testing.T) {
	e := filled(t, 1, shape{isolation: Plain, network: "host"})
	sp := e.spares.ready[e.spares.shapes[0]][0]
	e.spares.ready = map[shape][]*spare{}
	rec := *sp.rec
	rec.Job = "b/build"
	if err := sp.folder.write(&rec); err != nil {
		t.Fatal(err)
	}
	sp.unlock()
	next := New(e.cfg)
	s := openIn(t, next, ci.Placement{Job: "b/build", Runtime: ci.Runtime{Isolation: Plain}})
	if s.rec.Process == rec.Process || !s.Fresh() {
		t.Errorf("got process %d, fresh %v; want a new one", s.rec.Process.PID, s.Fresh())
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := next.Sweep(t.Context(), func(ci.JobID) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if rec.Process.alive() {
		t.Error("what was on the way is still there")
	}
}

// A link that leads nowhere is a remainder, and no hindrance to its job.
func TestALinkThatLeadsNowhere(t *testing.T) {
	e := filled(t, 0)
	f := folderOf(e.cfg.Root, "b/build")
	if err := os.Symlink("gone", f.path()); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, e, ci.Placement{Job: "b/build", Runtime: ci.Runtime{Isolation: Plain}})
	if got := output(t, s, "echo hello"); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("gone", f.path()); err != nil {
		t.Fatal(err)
	}
	if err := e.Sweep(t.Context(), func(ci.JobID) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(f.path()); err == nil {
		t.Error("the link is still there")
	}
}

// A link is of our making, and leads to a folder beside it: one that leads
// elsewhere is removed and not followed.
func TestALinkThatLeadsElsewhere(t *testing.T) {
	e := filled(t, 0)
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := folderOf(e.cfg.Root, "b/build")
	if err := os.Symlink(elsewhere, f.path()); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, e, ci.Placement{Job: "b/build", Runtime: ci.Runtime{Isolation: Plain}})
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "file")); err != nil {
		t.Error(err)
	}
}

func TestKeepMakesThemAndTakesThemAway(t *testing.T) {
	root := t.TempDir()
	e := New(Config{Root: root})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Keep(ctx, 1) }()
	for made := false; !made; { // the first Open may come before the first is made; a Close has one made
		s := openIn(t, e, ci.Placement{Job: "b/build"})
		_, err := os.Readlink(folderOf(root, "b/build").path())
		made = err == nil
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("left in the state folder: %v, %v", left, err)
	}
}
