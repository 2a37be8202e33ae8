package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// wire is a socket that leads to an engine until it is cut.
type wire struct {
	host string
	l    net.Listener
	mu   sync.Mutex
	open []net.Conn
	all  sync.WaitGroup
}

func newWire(t *testing.T, engine string) *wire {
	t.Helper()
	dir, err := os.MkdirTemp("", "wire") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{host: "unix://" + path, l: l}
	w.all.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("unix", strings.TrimPrefix(engine, "unix://"))
			if err != nil {
				_ = a.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, a, b)
			w.mu.Unlock()
			w.all.Go(func() { _, _ = io.Copy(a, b); _ = a.Close() })
			w.all.Go(func() { _, _ = io.Copy(b, a); _ = b.(*net.UnixConn).CloseWrite() })
		}
	})
	t.Cleanup(func() { w.cut(); w.all.Wait(); _ = os.RemoveAll(dir) })
	return w
}

func (w *wire) cut() {
	_ = w.l.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
}

// TestEngineGoesAway: in the middle of a step. Where the agent is reached
// without the engine, the step's own result still comes; else it is said to be
// unknown, and why.
func TestEngineGoesAway(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		direct := c.executor(t, nil)
		w := newWire(t, c.host(t))
		e := c.executor(t, func(cfg *Config) { cfg.Root, cfg.Owner = direct.cfg.Root, direct.cfg.Owner })
		through, err := New(Config{Host: w.host, Exe: e.cfg.Exe, Root: e.cfg.Root, Owner: e.cfg.Owner, Files: c.files, User: e.cfg.User})
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, through, "away/job", nil)
		p, err := s.Start(t.Context(), ci.Command{ID: "away/job/BUILD/0", Script: "mkfifo gate; echo begun; read x <gate; exit 4"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Output(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := readLine(r); line != "begun" {
			t.Fatalf("%q, %v", line, err)
		}
		w.cut()
		if _, x := output(t, open(t, direct, "away/job", nil), ci.Command{ID: "away/job/BUILD/1", Script: "echo >gate"}); x.Code != 0 {
			t.Fatalf("open the gate: %+v", x)
		}
		x, err := p.Wait(t.Context())
		if c.files == Copy {
			if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "no container engine answers at "+w.host) {
				t.Errorf("Wait: %v", err)
			}
		} else if err != nil || x.Code != 4 {
			t.Errorf("exit %+v, %v; want 4", x, err)
		}
		if _, err := through.Open(t.Context(), ci.Placement{Job: "away/other", Runtime: ci.Runtime{Image: "x"}}); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "--executor local") {
			t.Errorf("Open without an engine: %v", err)
		}
	})
}

// TestProbe: which engine answers, and that none does.
func TestProbe(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		g, err := e.Probe(t.Context())
		for range 10 { // a machine that runs every test at once
			if !errors.Is(err, context.DeadlineExceeded) {
				break
			}
			g, err = e.Probe(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"docker-20": "Docker Engine 20.10", "docker-20-copy": "Docker Engine 20.10", "docker-new": "Docker Engine ", "podman": "Podman Engine 4"}[c.name]
		if !strings.HasPrefix(g.String(), want) || g.Podman() != (c.name == "podman") || g.API < "1.40" || g.CPUs < 1 || g.Memory < 1<<20 || g.Arch == "" {
			t.Errorf("%+v, want %s", g, want)
		}
	})
}

func TestNoEngine(t *testing.T) {
	t.Parallel()
	e, err := New(Config{Host: "unix://" + t.TempDir() + "/none.sock", Exe: os.Args[0], Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Probe(t.Context()); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "DOCKER_HOST") {
		t.Errorf("Probe: %v", err)
	}
	if err := e.Sweep(t.Context(), func(ci.JobID) bool { return true }); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Sweep: %v", err)
	}
	if _, err := New(Config{Host: "ssh://me@there", Root: t.TempDir()}); !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), "ssh -L") {
		t.Errorf("ssh: %v", err)
	}
}

// TestNoShell: an image without a shell says so where a command is due.
func TestNoShell(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o755}), w.Close()); err != nil {
			t.Fatal(err)
		}
		name := "localhost/sluice-test/empty:" + c.name
		importTar(t, e, name, layer.Bytes())
		t.Cleanup(func() { removeImages(t, e, name) })
		s := open(t, e, "shell/job", func(p *ci.Placement) { p.Runtime.Image = name })
		text, x := output(t, s, ci.Command{ID: "shell/job/BUILD/0", Shell: "sh", Script: "true"})
		if x.Code != 127 || !strings.Contains(text, "sh") || !strings.Contains(text, "not found") {
			t.Errorf("exit %d, %q", x.Code, text)
		}
	})
}

// TestSocketIsNoLink: a build that lays a link where the agent's socket was does
// not lead us to another socket of the machine.
func TestSocketIsNoLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "real"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if conn, err := dialSocket(t.Context(), filepath.Join(dir, "real")); err != nil {
		t.Fatal(err)
	} else {
		_ = conn.Close()
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if conn, err := dialSocket(t.Context(), filepath.Join(dir, "link")); err == nil {
		_ = conn.Close()
		t.Error("followed a link")
	}
}

// TestDynamicBinary: a sluice that needs libraries says so, and not that it is
// missing.
func TestDynamicBinary(t *testing.T) {
	t.Parallel()
	dynamic, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is missing: apt-get install bash")
	}
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, func(cfg *Config) { cfg.Exe = dynamic })
		_, err := e.Open(t.Context(), ci.Placement{Job: "dynamic/job", Runtime: ci.Runtime{Image: busybox(t, e)}})
		if !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("Open: %v", err)
		}
	})
}
