package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// dial connects to the agent: through the shared directory, or with an exec.
func (s *Sandbox) dial(ctx context.Context) (net.Conn, error) {
	if s.byExec.Load() {
		if c := s.spare.take(); c != nil {
			return c, nil
		}
		return s.dialExec(ctx)
	}
	return dialSocket(ctx, filepath.Join(sharedDir(s.folder), filepath.Base(socketPath)))
}

// dialSocket connects to a socket in a directory that a build can write to. It
// holds the file itself, after a look at what it is: a link laid there could
// lead to any socket of this machine.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, &os.PathError{Op: "connect", Path: path, Err: syscall.ENOTSOCK}
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
}

// spares are connections made ahead. An exec is a process in the container: what
// a build leaves no room for under its limit of processes cannot be made when it
// is needed, so a step's are made before the step is started.
type spares struct {
	mu    sync.Mutex
	conns []net.Conn
}

// perStep is what following a step takes: its start, its output, its end.
const perStep = 3

func (p *spares) take() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) == 0 {
		return nil
	}
	c := p.conns[0]
	p.conns = p.conns[1:]
	return c
}

// fill makes as many connections as are missing, all at once. One that fails is
// left to whoever needs it.
func (p *spares) fill(ctx context.Context, dial func(context.Context) (net.Conn, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var wg sync.WaitGroup
	made := make([]net.Conn, max(0, perStep-len(p.conns)))
	for i := range made {
		wg.Go(func() {
			if c, err := dial(ctx); err == nil {
				made[i] = c
			}
		})
	}
	wg.Wait()
	for _, c := range made {
		if c != nil {
			p.conns = append(p.conns, c)
		}
	}
}

func (p *spares) close() {
	for c := p.take(); c != nil; c = p.take() {
		_ = c.Close()
	}
}

// dialExec runs `sluice agent connect` in the container and speaks through its
// standard input and output.
func (s *Sandbox) dialExec(ctx context.Context) (net.Conn, error) {
	created, err := s.exec.api.ExecCreate(ctx, s.id, client.ExecCreateOptions{
		User: "0:0", AttachStdin: true, AttachStdout: true, AttachStderr: true,
		Cmd: []string{exePath, "agent", "connect", socketPath},
	})
	if err != nil {
		return nil, s.exec.explain(err)
	}
	attached, err := s.exec.api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, s.exec.explain(err)
	}
	return &execConn{Conn: attached.Conn, r: attached.Reader}, nil
}

// execConn is the hijacked stream of an exec: what is written goes to standard
// input as it is; what is read comes in frames of an 8-byte header (stream,
// three zeros, length) and bytes.
type execConn struct {
	net.Conn
	r      *bufio.Reader
	begun  bool   // something came on standard output
	left   int    // of the current frame of standard output
	stderr []byte // what `agent connect` had to say
}

func (c *execConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		var head [8]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			if errors.Is(err, io.EOF) && len(c.stderr) > 0 {
				return 0, errors.New(strings.TrimSpace(string(c.stderr)))
			}
			return 0, err
		}
		size := int(binary.BigEndian.Uint32(head[4:]))
		if head[0] == 1 {
			if !c.begun {
				c.begun = true
				if err := c.refused(size); err != nil {
					return 0, err
				}
			}
			c.left = size
			continue
		}
		if err := c.keep(size); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// refused recognises the engine's own words in place of the program's: it could
// not start the exec, or lost its container, and says so in the program's stream.
// An agent's frame has its length after its first byte, and never one so long
// that it begins with a character.
func (c *execConn) refused(size int) error {
	start, err := c.r.Peek(min(size, 2))
	if err != nil || len(start) < 2 || start[1] < ' ' {
		return nil
	}
	text := make([]byte, min(size, 4096))
	n, _ := io.ReadFull(c.r, text)
	return fmt.Errorf("the engine can start no process in the container: %s", strings.TrimSpace(string(text[:n])))
}

// keep reads a frame of standard error, and remembers its first part.
func (c *execConn) keep(size int) error {
	n := min(size, max(0, 4096-len(c.stderr)))
	part := make([]byte, n)
	if _, err := io.ReadFull(c.r, part); err != nil {
		return err
	}
	c.stderr = append(c.stderr, part...)
	_, err := io.CopyN(io.Discard, c.r, int64(size-n))
	return err
}

// Times of waiting for an agent.
const (
	readyTimeout  = 30 * time.Second
	socketTimeout = 3 * time.Second // then the socket is asked for through the engine
)

// ready waits until the agent answers. errEnded says that the container is not
// running (any more).
func (s *Sandbox) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("the agent in container %s does not answer after %s", s.name, readyTimeout))
	defer cancel()
	begun := time.Now()
	pause := time.Millisecond
	looked := begun
	for {
		err := s.Ping(ctx)
		if err == nil {
			return nil
		}
		if now := time.Now(); now.Sub(looked) > 200*time.Millisecond {
			looked = now
			if err := s.alive(ctx); err != nil {
				return err
			}
			if !s.byExec.Load() && (now.Sub(begun) > socketTimeout || errors.Is(err, os.ErrPermission)) {
				s.byExec.Store(true) // a virtual machine shares files but not sockets
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
			pause = min(pause*5/4, 20*time.Millisecond)
		}
	}
}

// untilStarted waits a while for somebody else to start the container.
func (s *Sandbox) untilStarted(ctx context.Context) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		found, err := s.exec.find(ctx, s.id)
		switch {
		case err != nil:
			return err
		case found == nil || found.State == nil:
			return errEnded
		case found.State.Running:
			return s.ready(ctx)
		case time.Now().After(deadline):
			return errEnded
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
