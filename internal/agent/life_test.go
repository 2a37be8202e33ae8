package agent

import (
	"bytes"
	"context"
	"encoding/binary"
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
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// A million lines come whole, and the agent does not keep them.
func TestManyLines(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	b.run(t, ci.Command{Script: "true"})
	before, _ := memory(t, b.cmd.Process.Pid)
	p, err := b.Start(t.Context(), ci.Command{ID: nextID(), Script: seq})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{0, 99_999_999, 50_000_000} {
		r, err := p.Output(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != 100_000_000-from {
			t.Errorf("from %d: %d bytes, %v", from, n, err)
		}
		_ = r.Close()
	}
	wait(t, p)
	if _, peak := memory(t, b.cmd.Process.Pid); peak-before > 16<<20 {
		t.Errorf("the agent grew from %d to %d bytes", before, peak)
	}
}

// A reader that goes away in mid-step hurts nobody.
func TestReaderGoes(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	p, err := b.Start(t.Context(), ci.Command{ID: nextID(), Script: seq})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := p.Output(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Errorf("read after cancel: %v", err)
		}
		_ = r.Close()
	}
	if n := len(output0(t, p)); n != 100_000_000 {
		t.Errorf("%d bytes", n)
	}
}

// A tar whose source breaks is not put, whatever its error looks like.
func TestPutFromABrokenNetwork(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	for _, broken := range []error{&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, io.ErrClosedPipe, net.ErrClosed, errors.New("broken")} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := b.Put(ctx, b.dirs.Source, iotest.ErrReader(broken))
		cancel()
		if !errors.Is(err, broken) || errors.Is(err, ci.ErrUnavailable) {
			t.Errorf("%v: got %v", broken, err)
		}
	}
}

func TestUnknownStep(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	p := &process{client: b.Client, id: "b/j/BUILD/none"}
	if _, err := p.Wait(t.Context()); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("Wait: %v", err)
	}
	if err := p.Stop(t.Context(), 0); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("Stop: %v", err)
	}
	for _, cmd := range []ci.Command{{}, {ID: "x", Script: "a\x00b"}, {ID: "x", Env: []string{"A=\x00"}}} {
		if _, err := b.Start(t.Context(), cmd); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", cmd, err)
		}
	}
	if _, err := b.Start(t.Context(), ci.Command{ID: "x", Script: strings.Repeat("x", maxMessage)}); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("a script over the limit: %v", err)
	}
}

// Whatever comes over the socket, the agent goes on.
func TestJunk(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	huge := binary.BigEndian.AppendUint32([]byte{frameRequest}, 1<<31)
	for _, junk := range []string{"", "\x00", "GET / HTTP/1.1\r\n\r\n", "Q\x00\x00\x00\x02{}", "Q\x00\x00\x00\x02no", "D\x00\x00\x00\x01x", string(huge),
		`Q` + "\x00\x00\x00\x0c" + `{"op":"put"}` + "R\x00\x00\x00\x00", `Q` + "\x00\x00\x00\x0e" + `{"op":"start"}`, `Q` + "\x00\x00\x00\x0c" + `{"op":"get"}`,
		`Q` + "\x00\x00\x00\x11" + `{"op":"terminal"}`} {
		conn, err := Dial(t.Context(), b.socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, junk)
		_ = conn.(*net.UnixConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		if len(junk) > 4 && !bytes.Contains(answer, []byte(`"error"`)) {
			t.Errorf("%q was answered %q", junk, answer)
		}
		_ = conn.Close()
	}
	if out, _ := b.run(t, ci.Command{Script: "echo on"}); out != "on\n" {
		t.Errorf("afterwards: %q", out)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	b := startAgent(t, func(s *Settings) { s.Spool = small })
	out, x := b.run(t, ci.Command{Script: "head -c 5000000 /dev/zero; exit 3"})
	if x.Code != 3 || len(out) < 500_000 || !strings.Contains(out, "output is lost from here on: no space left on device") {
		t.Errorf("exit %d, %d bytes, end %q", x.Code, len(out), out[max(0, len(out)-200):])
	}
	b = startAgent(t, func(s *Settings) { s.Scripts = small })
	if err := os.WriteFile(filepath.Join(small, "fill"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = exec.Command("sh", "-c", "cat /dev/zero > "+small+"/fill").Run()
	if out, x := b.run(t, ci.Command{Script: "echo on"}); x.Code != 126 || !strings.Contains(out, "no space left") {
		t.Errorf("a script that cannot be written: exit %d, %q", x.Code, out)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40), strings.Repeat("er", 60))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent.sock")
	for range 2 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); err == nil {
			t.Error("a second listener took the socket of a living one")
		}
		c, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		_ = l.(*listener).UnixListener.Close() // as when its process dies
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("the socket of a dead listener: %v", err)
	}
	_ = l.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("Close left the socket: %v", err)
	}
}

func TestReadyFIFO(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := dir + "/ready"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	settings := fmt.Sprintf(`{"socket":%q,"spool":%q,"dirs":{"source":%q,"temp":%q},"env":["PATH=/usr/bin:/bin"],"readyFIFO":%q}`, dir+"/s", dir, dir, dir, fifo)
	if err := os.WriteFile(dir+"/settings", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "test-agent", dir+"/settings")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 6)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "ready\n" {
		t.Errorf("%q, %v", buf, err)
	}
	c := &Client{Dial: func(ctx context.Context) (net.Conn, error) { return Dial(ctx, dir+"/s") }}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	p, err := c.Start(t.Context(), ci.Command{ID: "b/j/BUILD/0", Script: "echo ready; exec sleep 1000"})
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		x, err := p.Wait(t.Context())
		if err == nil && x.Signal != "killed" {
			err = fmt.Errorf("%+v", x)
		}
		waited <- err
	}()
	_ = cmd.Process.Signal(syscall.SIGINT) // not for the agent
	_ = cmd.Process.Signal(syscall.SIGHUP)
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if err := <-waited; err != nil && !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Wait when the agent was ended: %v", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Ping of a dead agent: %v", err)
	}
}

func TestBridge(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	c := &Client{Dial: func(ctx context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			_ = Bridge(ctx, b.socket, there, there)
			_ = there.Close()
		}()
		return here, nil
	}}
	p, err := c.Start(t.Context(), ci.Command{ID: nextID(), Script: "echo over the bridge; exit 4"})
	if err != nil {
		t.Fatal(err)
	}
	if out, x := output0(t, p), wait(t, p); out != "over the bridge\n" || x.Code != 4 {
		t.Errorf("%q, %+v", out, x)
	}
	var tar bytes.Buffer
	if _, err := c.Get(t.Context(), ci.FileSet{Dir: b.dirs.Source, Globs: []string{"**/*"}}, &tar); err != nil {
		t.Error(err)
	}
	if err := c.Put(t.Context(), b.dirs.Source+"/put", &tar); err != nil {
		t.Error(err)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	for _, shell := range []string{"sh", "bash"} {
		b.run(t, ci.Command{Shell: shell, Session: shell, Script: "mkdir -p deep; cd deep; PLAIN=p; export EXP=e"})
		size := make(chan [2]uint16, 2)
		size <- [2]uint16{91, 33}
		in, typing := io.Pipe()
		var out screen
		out.seen = make(chan struct{})
		out.want = "[p e deep 33 91]"
		go func() {
			_, _ = io.WriteString(typing, "PS1=; echo [$PLAIN $EXP ${PWD##*/} $(stty size)]; tty > /dev/null || exit 9\n")
			<-out.seen
			_, _ = io.WriteString(typing, "exit 7\n")
		}()
		x, err := b.Terminal(t.Context(), ci.Terminal{Shell: shell, Session: shell, Env: []string{"TERM=dumb"}, In: in, Out: &out, Size: size})
		if err != nil || x.Code != 7 {
			t.Errorf("%s: %+v, %v; screen %q", shell, x, err, out.String())
		}
		_ = typing.Close()
	}
	if _, err := b.Terminal(t.Context(), ci.Terminal{Shell: "fish", In: strings.NewReader(""), Out: io.Discard}); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("no such shell: %v", err)
	}
}

// screen closes seen when want was shown.
type screen struct {
	bytes.Buffer
	want string
	seen chan struct{}
	done bool
}

func (s *screen) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if !s.done && strings.Contains(s.String(), s.want) {
		s.done = true
		close(s.seen)
	}
	return n, err
}

// A shell that ends ends the terminal, whoever still holds it.
func TestTerminalLeftBehind(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	for _, text := range []string{"setsid sleep 1000 &", "(trap '' HUP; sleep 1000) &"} {
		in, typing := io.Pipe()
		var out screen
		out.seen, out.want = make(chan struct{}), "last words"
		go func() { _, _ = io.WriteString(typing, text+"\necho last' 'words; exit 7\n") }()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		x, err := b.Terminal(ctx, ci.Terminal{In: in, Out: &out})
		cancel()
		_ = typing.Close()
		if err != nil || x.Code != 7 || !out.done {
			t.Errorf("%q: %+v, %v; screen %q", text, x, err, out.String())
		}
	}
}

// A client that hangs up takes its shell with it.
func TestTerminalHangup(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := screen{want: "[on]", seen: make(chan struct{})}
	in, typing := io.Pipe()
	go func() {
		_, _ = io.WriteString(typing, "echo $$ > pid; PS1=; echo [o''n]; exec sleep 1000\n")
		<-out.seen
		cancel()
	}()
	if _, err := b.Terminal(ctx, ci.Terminal{In: in, Out: &out}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// Its number is gone when the agent has reaped it; kill -0 says so.
	if out, x := b.run(t, ci.Command{Script: "read pid < pid; while kill -0 $pid 2>/dev/null; do sleep 0.01; done; echo gone"}); out != "gone\n" || x.Code != 0 {
		t.Errorf("%q, %+v", out, x)
	}
}

// Killing the agent's last children must be quicker than they can fork.
func TestForkBombEnds(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("another user, whose processes can be counted, needs root")
	}
	b := startAgent(t)
	if err := os.Chmod(b.dirs.Source, 0o777); err != nil {
		t.Fatal(err)
	}
	// Processes that each start another and end, in sessions of their own.
	script := `ulimit -u 100 2>/dev/null; cat > w <<'E'
trap '' TERM HUP INT
setsid sh ./w &
sleep 0.1
E
i=0; while [ $i -lt 10 ]; do setsid sh ./w & i=$((i+1)); done 2>/dev/null; echo armed; wait`
	q, err := b.Start(t.Context(), ci.Command{ID: nextID(), User: "61234", Dir: b.dirs.Source, Script: script})
	if err != nil {
		t.Fatal(err)
	}
	r, err := q.Output(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, len("armed\n"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	left, _ := exec.Command("pgrep", "-u", "61234").Output()
	if len(left) > 0 {
		t.Errorf("left running: %s", left)
		_ = exec.Command("pkill", "-9", "-u", "61234").Run()
	}
}

// As the first process of a PID namespace the agent reaps what is orphaned and
// takes everything along.
func TestFirstProcess(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	dir := t.TempDir()
	settings := fmt.Sprintf(`{"socket":%q,"spool":%q,"dirs":{"source":%q,"temp":%q},"env":["PATH=/usr/bin:/bin"],"readyFD":3}`, dir+"/s", dir, dir, dir)
	if err := os.WriteFile(dir+"/settings", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	ready, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `mount -t proc proc /proc && exec "$0" test-agent "$1"`, os.Args[0], dir+"/settings")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot make a PID namespace: %v", err)
	}
	_ = w.Close()
	if said, _ := io.ReadAll(ready); string(said) != "ready\n" {
		_ = cmd.Wait()
		t.Skipf("cannot mount /proc in a namespace: the agent said %q", said)
	}
	b := &sandbox{Client: &Client{Dial: func(ctx context.Context) (net.Conn, error) { return Dial(ctx, dir+"/s") }}}
	out, x := b.run(t, ci.Command{Script: `echo $PPID; (setsid sh -c 'exit 0' &) ; (setsid sleep 1000 &); exit 5`})
	if out != "1\n" || x.Code != 5 {
		t.Errorf("%q, %+v", out, x)
	}
	out, _ = b.run(t, ci.Command{Script: `while grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.01; done; echo reaped`})
	if !strings.HasSuffix(out, "reaped\n") {
		t.Errorf("%q", out)
	}
	if err := b.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

func FuzzWire(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x0e{\"op\":\"ping\"}"))
	f.Add([]byte("D\x00\x00\x00\x01xE\x00\x00\x00\x00"))
	f.Add([]byte("D\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWire(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(data), io.Discard})
		got, err := io.ReadAll(w)
		if len(got) > len(data) || err == nil && !bytes.ContainsRune(data, frameEnd) {
			t.Fatalf("%q became %q, %v", data, got, err)
		}
		w = newWire(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(data), io.Discard})
		if kind, size, err := w.next(); err == nil && kind == frameRequest {
			var req request
			_ = w.payload(min(size, len(data)), &req)
		}
	})
}
