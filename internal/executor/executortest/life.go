package executortest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

func runFiles(t *testing.T, s Suite) {
	b := s.open(t)
	dirs := b.Dirs()
	archive := func(headers ...tar.Header) *bytes.Reader {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, h := range headers {
			if h.Typeflag == 0 {
				h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
			}
			h.ModTime = time.Unix(1700000000, 0)
			err := w.WriteHeader(&h)
			if err == nil && h.Typeflag == tar.TypeReg {
				_, err = io.WriteString(w, h.Name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return bytes.NewReader(buf.Bytes())
	}
	t.Run("there and back", func(t *testing.T) {
		dir := dirs.Source + "/made/here"
		err := b.Put(b.ctx, dir, archive(tar.Header{Name: "x/run.sh", Mode: 0o755}, tar.Header{Name: "b", Mode: 0o600},
			tar.Header{Name: "l", Linkname: "b", Typeflag: tar.TypeSymlink}))
		if err != nil {
			t.Fatal(err)
		}
		b.on(t).want(ci.Command{Dir: dir, Script: "cat b; [ -x x/run.sh ] && readlink l; stat -c '%a %Y' b"}, "bb\n600 1700000000\n", 0)
		var first, second bytes.Buffer
		set := ci.FileSet{Dir: dirs.Source, Base: "made/*", Globs: []string{"**/*", "none"}, Excludes: []string{"x/**/*"}, Symlinks: true}
		m, err := b.Get(b.ctx, set, &first)
		if err != nil {
			t.Fatal(err)
		}
		if m.Files != 2 || strings.Join(m.Unmatched, " ") != "none" || len(m.Bases) != 1 || m.Bases[0] != dir {
			t.Errorf("matched %+v", m)
		}
		if _, err := b.Get(b.ctx, set, &second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("a second Get differs, %v", err)
		}
		h, err := tar.NewReader(&first).Next()
		if err != nil || h.Name != "b" || h.Mode != 0o600 || h.ModTime.Unix() != 1700000000 {
			t.Errorf("first entry %+v, %v", h, err)
		}
	})
	t.Run("nothing matched", func(t *testing.T) {
		m, err := b.Get(b.ctx, ci.FileSet{Dir: dirs.Source, Globs: []string{"*.none"}}, io.Discard)
		if err != nil || m.Files != 0 || len(m.Unmatched) != 1 {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("home and absolute", func(t *testing.T) {
		b.on(t).want(ci.Command{Script: `mkdir -p "$HOME/.conformance" && echo x > "$HOME/.conformance/f"`}, "", 0)
		m, err := b.Get(b.ctx, ci.FileSet{Dir: dirs.Source, Globs: []string{"~/.conformance/**/*", dirs.Home + "/.conformance/*"}}, io.Discard)
		if err != nil || m.Files != 1 || len(m.Unmatched) != 0 {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("absolute names below the root", func(t *testing.T) {
		if err := b.Put(b.ctx, "/", archive(tar.Header{Name: dirs.Temp + "/abs", Mode: 0o644})); err != nil {
			t.Fatal(err)
		}
		b.on(t).want(ci.Command{Script: "cat " + dirs.Temp + "/abs"}, dirs.Temp+"/abs", 0)
	})
	t.Run("hostile", func(t *testing.T) {
		for name, a := range map[string]*bytes.Reader{
			"dot dot":  archive(tar.Header{Name: "../escaped"}),
			"absolute": archive(tar.Header{Name: dirs.Temp + "/escaped"}),
			"link":     archive(tar.Header{Name: "l", Linkname: "/etc", Typeflag: tar.TypeSymlink}),
			"device":   archive(tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
			"no tar":   bytes.NewReader(bytes.Repeat([]byte("junk"), 1000)),
		} {
			if err := b.Put(b.ctx, dirs.Source+"/hostile", a); !errors.Is(err, ci.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
		b.on(t).want(ci.Command{Script: "ls -d escaped " + dirs.Temp + "/escaped 2>/dev/null; :"}, "", 0)
	})
	t.Run("hostile, with much behind it", func(t *testing.T) {
		r := io.MultiReader(archive(tar.Header{Name: "../escaped"}), io.LimitReader(zeros{}, 50<<20))
		if err := b.Put(b.ctx, dirs.Source+"/hostile", r); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
	t.Run("a source that breaks", func(t *testing.T) {
		broken := errors.New("broken source")
		r := io.MultiReader(archive(tar.Header{Name: "f"}), &brokenReader{broken})
		if err := b.Put(b.ctx, dirs.Source+"/broken", r); !errors.Is(err, broken) {
			t.Errorf("%v, want the source's error", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type brokenReader struct{ err error }

func (b *brokenReader) Read([]byte) (int, error) { return 0, b.err }

func runOpen(t *testing.T, s Suite) {
	b := s.open(t)
	if !b.Fresh() {
		t.Error("the first Open says it found the sandbox")
	}
	p := b.start(ci.Command{ID: b.job.Step("BUILD/0"), Script: "mkfifo f; echo started; cat f; exit 6"})
	b.seen(p, "started")
	c := s.again(t, b)
	if c.Fresh() {
		t.Error("the second Open says it made the sandbox")
	}
	if !reflect.DeepEqual(c.Placed(), b.Placed()) || c.Dirs() != b.Dirs() {
		t.Errorf("re-attached: %+v %+v, before %+v %+v", c.Placed(), c.Dirs(), b.Placed(), b.Dirs())
	}
	q := c.start(ci.Command{ID: b.job.Step("BUILD/0"), Script: "echo something else"})
	c.want(ci.Command{Script: "echo end > f"}, "", 0)
	if out := string(c.output(q, 0)); out != "started\nend\n" {
		t.Errorf("re-attached step: %q", out)
	}
	if x := c.wait(q); x.Code != 6 {
		t.Errorf("re-attached step: %+v", x)
	}
	if x := b.wait(p); x.Code != 6 {
		t.Errorf("the first client's step: %+v", x)
	}
	for range 2 {
		if err := b.Close(b.ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := c.Close(b.ctx); err != nil {
		t.Errorf("close by the other client: %v", err)
	}
	if d := s.again(t, b); !d.Fresh() {
		t.Error("Open after Close found something")
	} else {
		d.want(ci.Command{Script: "ls"}, "", 0)
	}
}

func runLost(t *testing.T, s Suite) {
	if s.Kill == nil {
		t.Skip("the sandbox cannot be killed: " + s.Why)
	}
	b := s.open(t)
	p := b.start(ci.Command{Script: "sleep " + unique(2) + " & echo ready; wait"})
	b.seen(p, "ready")
	waited, read := make(chan error, 1), make(chan error, 1)
	out, err := p.Output(b.ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, err := p.Wait(b.ctx); waited <- err }()
	go func() { _, err := io.Copy(io.Discard, out); read <- err }()
	s.Kill(t, b.job, b.Sandbox)
	if err := <-waited; !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Wait: %v, want ErrUnavailable", err)
	}
	if err := <-read; !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Output: %v, want ErrUnavailable: the end of a lost sandbox is not the end of the output", err)
	}
	_ = out.Close()
	if _, err := b.Start(b.ctx, ci.Command{ID: b.job.Step("BUILD/9"), Script: "true"}); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Start: %v, want ErrUnavailable", err)
	}
	c := s.again(t, b)
	if !c.Fresh() {
		t.Error("Open after the loss says it found the sandbox")
	}
	if s.Leaves {
		// They were killed by now, but a killed process takes a moment to go.
		c.want(ci.Command{Script: "while [ -n \"$(" + alive("sleep", unique(2)) + ")\" ]; do sleep 0.01; done"}, "", 0)
	}
	c.want(ci.Command{Script: "echo back"}, "back\n", 0)
}

func runClientKilled(t *testing.T, s Suite) {
	if s.State == "" {
		t.Skip("no second process can reach this executor: " + s.Why)
	}
	b := s.open(t)
	script := "mkfifo gate; i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; echo half; cat gate; echo whole; exit 21"
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envState+"="+s.State, envJob+"="+string(b.job), envScript+"="+script)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), "half\n") {
		n, err := out.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("the client ended by itself: %v: %s", err, got.String())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	c := s.again(t, b)
	if c.Fresh() {
		t.Error("the sandbox did not survive its client")
	}
	p := c.start(ci.Command{ID: b.job.Step("BUILD/0"), Script: "echo not this"})
	c.want(ci.Command{Script: "echo go > gate"}, "", 0)
	text := string(c.output(p, 0))
	if !strings.HasPrefix(text, "line 0\n") || !strings.HasSuffix(text, "half\ngo\nwhole\n") || strings.Count(text, "\n") != 1003 {
		t.Errorf("output after the client was killed: %d lines, %q", strings.Count(text, "\n"), clip(text))
	}
	if x := c.wait(p); x.Code != 21 {
		t.Errorf("exit %+v, want 21", x)
	}
}

// runNothingLeft looks from outside for processes that hid from their session.
func runNothingLeft(t *testing.T, s Suite) {
	b := s.open(t)
	script := "setsid sh -c 'setsid sleep N & setsid sleep N & wait' & sleep N & (trap '' TERM INT HUP; sleep N; sleep N) & echo ready; wait"
	p := b.start(ci.Command{Script: strings.ReplaceAll(script, "N", unique(3))})
	b.seen(p, "ready")
	if err := b.Close(b.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(b.ctx); err != nil && !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("wait after Close: %v", err)
	}
	out, err := exec.Command("sh", "-c", alive("sleep", unique(3))).Output()
	if err != nil || len(out) > 0 {
		t.Errorf("left running after Close, %v: %s", err, out)
	}
}

func runSweep(t *testing.T, s Suite) {
	live, dead := s.open(t), s.open(t)
	e := s.Open(t)
	mine := func(j ci.JobID) bool { return j != dead.job }
	for range 2 {
		if err := e.Sweep(live.ctx, mine); err != nil {
			t.Fatalf("sweep: %v", err)
		}
	}
	live.want(ci.Command{Script: "echo alive"}, "alive\n", 0)
	if s.again(t, live).Fresh() {
		t.Error("Sweep removed a live job's sandbox")
	}
	if _, err := dead.Start(dead.ctx, ci.Command{ID: dead.job.Step("BUILD/0"), Script: "true"}); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Start in a swept sandbox: %v, want ErrUnavailable", err)
	}
	if !s.again(t, dead).Fresh() {
		t.Error("Sweep left the sandbox of a job that is not live")
	}
}

func runMemory(t *testing.T, s Suite) {
	if !s.Memory {
		t.Skip("no memory limit: " + s.Why)
	}
	b := s.open(t, func(p *ci.Placement) { p.Runtime.Memory = 64 << 20 })
	out, x := b.run(ci.Command{Script: "head -c 400000000 /dev/zero | tail -c 399999999 | wc -c"})
	if !x.OOM {
		t.Errorf("400 MB under a limit of 64 MiB: %+v, %q; want OOM", x, out)
	}
	// What the other half of the killed pipeline still prints may come before it.
	if out, x := b.run(ci.Command{Script: "echo survived"}); x.Code != 0 || !strings.HasSuffix(out, "survived\n") {
		t.Errorf("the next command: %+v, %q", x, out)
	}
	if u, err := b.Usage(b.ctx); err != nil || u.OOMKills == 0 {
		t.Errorf("usage %+v, %v; want OOM kills", u, err)
	}
}

func runForkBomb(t *testing.T, s Suite) {
	if !s.Processes {
		t.Skip("no process limit: " + s.Why)
	}
	b := s.open(t, func(p *ci.Placement) { p.Runtime.Processes = 100 })
	p := b.start(ci.Command{Script: "bomb() { bomb | bomb & }; echo armed; bomb 2>/dev/null; sleep 1000"})
	b.seen(p, "armed")
	ctx, cancel := context.WithTimeout(b.ctx, patience/2)
	defer cancel()
	if err := p.Stop(ctx, 0); err != nil && !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("stop: %v", err)
	}
	if err := b.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	other := s.open(t)
	other.want(ci.Command{Script: "echo fine"}, "fine\n", 0)
}
