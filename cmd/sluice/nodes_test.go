package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/client"
)

// beside starts a server that shares the database of s, and its master key. It
// makes no token of its own: the first server made the administrator.
func (s *served) beside(data, database string, more ...string) *served {
	s.t.Helper()
	if err := os.MkdirAll(data, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"admin-token", "master.key"} {
		text, err := os.ReadFile(filepath.Join(s.data, name))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, name), text, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return serverIn(s.t, data, append([]string{"--database", database}, more...)...)
}

// gate is a pipe at which builds wait for the test.
type gate struct {
	t    *testing.T
	path string
}

func newGate(t *testing.T) gate {
	t.Helper()
	g := gate{t, filepath.Join(t.TempDir(), "gate")}
	if err := unix.Mkfifo(g.path, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// reached returns when a build waits; the answer lets it go on.
func (g gate) reached() (open func()) {
	g.t.Helper()
	f, err := os.OpenFile(g.path, os.O_WRONLY, 0) // returns when the build's cat reads
	if err != nil {
		g.t.Fatal(err)
	}
	return func() {
		if err := f.Close(); err != nil {
			g.t.Error(err)
		}
	}
}

// Two servers on one database are one service: a build that waits on one runs on
// the other, and each shows, and stops, what the other runs.
func TestServersShareTheWork(t *testing.T) {
	t.Parallel()
	database, dir := emptySchema(t), t.TempDir()
	one := serverIn(t, filepath.Join(dir, "one"), "--database", database, "--jobs", "1")
	two := one.beside(filepath.Join(dir, "two"), database)
	g := newGate(t)
	one.project("slow", fmt.Sprintf(`["echo before", "cat %s", "echo after"]`, g.path))
	one.project("fast", `["echo done"]`)

	one.must("build", "start", "slow")
	open := g.reached()
	one.must("build", "start", "fast") // the only slot of one is taken
	fast, slow := two.ended("fast", 1), func() client.Build {
		b, err := two.client().Build(t.Context(), "slow", 1)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	if fast.Status != client.Succeeded || fast.Node == slow.Node || fast.Node == "" || slow.Node == "" {
		t.Errorf("fast is %s (%s), in the hands of %q, and slow in those of %q", fast.Status, fast.Reason, fast.Node, slow.Node)
	}
	for _, s := range []*served{one, two} {
		if got := s.whole("fast", 1); got != "done\n" {
			t.Errorf("log of fast from %s: %q", s.url, got)
		}
	}
	// Live, from the server that does not run it.
	live, err := two.client().Log(t.Context(), "slow", 1, client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("before\n"))
	if _, err := io.ReadFull(live, first); err != nil || string(first) != "before\n" {
		t.Fatalf("live: %q, %v\n%s", first, err, two.said())
	}
	open()
	rest, err := io.ReadAll(live)
	_ = live.Close()
	if err != nil || string(rest) != "after\n" {
		t.Errorf("live: then %q, %v", rest, err)
	}

	one.must("build", "start", "slow")
	open = g.reached()
	two.must("build", "stop", "slow/2")
	if b := two.ended("slow", 2); b.Status != client.Canceled {
		t.Errorf("stopped through the other server: got %s (%s)", b.Status, b.Reason)
	}
	open()
	if out := two.must("node", "list"); strings.Count(out, "alive") != 2 {
		t.Errorf("nodes:\n%s", out)
	}
}

// When a server dies the others take its builds over: those that waited run, and
// those that ran, in sandboxes of its own machine, are lost and say so. Once it
// is back it has nothing left of them, and works on.
func TestTheBuildsOfADeadServerAreTakenOver(t *testing.T) {
	t.Parallel()
	database, dir := emptySchema(t), t.TempDir()
	one := serverIn(t, filepath.Join(dir, "one"), "--database", database, "--jobs", "1", "--lease", "2s")
	g := newGate(t)
	one.project("slow", fmt.Sprintf(`["cat %s"]`, g.path))
	one.project("fast", `["echo done"]`)
	one.must("build", "start", "slow")
	open := g.reached()
	for range 3 {
		one.must("build", "start", "fast")
	}
	one.kill()
	two := one.beside(filepath.Join(dir, "two"), database, "--lease", "2s")
	for n := int64(1); n <= 3; n++ {
		if b := two.ended("fast", n); b.Status != client.Succeeded || two.whole("fast", n) != "done\n" {
			t.Errorf("fast/%d: got %s (%s)", n, b.Status, b.Reason)
		}
	}
	if b := two.ended("slow", 1); b.Status != client.Errored || !strings.Contains(b.Reason, "lost") {
		t.Errorf("slow: got %s (%s), want lost", b.Status, b.Reason)
	}
	open()
	again := one.beside(filepath.Join(dir, "one"), database, "--ahead", "0")
	two.stop()
	again.must("build", "start", "fast")
	if b := again.ended("fast", 4); b.Status != client.Succeeded {
		t.Errorf("after all: got %s (%s)", b.Status, b.Reason)
	}
	again.stop()
	if left, err := filepath.Glob(filepath.Join(dir, "one", "sandboxes", "*")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// A server that comes back in time has its own builds, and nobody else does.
func TestAServerThatComesBackInTimeKeepsItsBuilds(t *testing.T) {
	t.Parallel()
	database, dir := emptySchema(t), t.TempDir()
	one := serverIn(t, filepath.Join(dir, "one"), "--database", database, "--lease", "1h")
	two := one.beside(filepath.Join(dir, "two"), database)
	g := newGate(t)
	one.project("slow", fmt.Sprintf(`["echo before", "cat %s", "echo after"]`, g.path))
	one.must("build", "start", "slow")
	open := g.reached()
	one.kill()
	again := one.beside(filepath.Join(dir, "one"), database)
	open()
	b := two.ended("slow", 1)
	if b.Status != client.Succeeded {
		t.Errorf("got %s (%s)", b.Status, b.Reason)
	}
	for _, s := range []*served{again, two} {
		if got := s.whole("slow", 1); got != "before\nafter\n" {
			t.Errorf("log from %s: %q", s.url, got)
		}
	}
}
