package agent

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize lets a command run ahead of the agent; the kernel may give less.
const pipeSize = 1 << 20

// holdStray bounds what background processes print while no command runs.
const holdStray = 64 << 10

// hub knows the commands that run, so that what the background processes of an
// ended command print goes to the output of one that is seen.
type hub struct {
	mu      sync.Mutex
	running []*spool
	held    []byte
	pumps   map[*pump]struct{}
	strays  map[*pump]struct{} // those whose command has ended
	wait    sync.WaitGroup
}

// join makes s the output that strays go to, until it leaves.
func (h *hub) join(s *spool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = append(h.running, s)
	if len(h.held) > 0 {
		_, _ = s.Write(h.held)
		h.held = nil
	}
}

func (h *hub) leave(s *spool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range h.running {
		if r == s {
			h.running = append(h.running[:i], h.running[i+1:]...)
			return
		}
	}
}

// stray takes what a background process prints: into the output of a command that
// runs, else it is held for the next.
func (h *hub) stray(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.running); n > 0 {
		return h.running[n-1].Write(p)
	}
	h.held = append(h.held, p[:min(len(p), holdStray-len(h.held))]...)
	return len(p), nil
}

// close ends all pumps, also those whose pipe a process outside still holds.
func (h *hub) close() {
	h.mu.Lock()
	for p := range h.pumps {
		_ = p.r.Close()
	}
	h.mu.Unlock()
	h.wait.Wait()
}

// settle returns when what background processes have printed by now is in the
// output of the command that runs.
func (h *hub) settle() {
	h.mu.Lock()
	strays := slices.Collect(maps.Keys(h.strays))
	h.mu.Unlock()
	for _, p := range strays {
		p.flush()
	}
}

// pump moves what a command prints from its pipe into its spool.
type pump struct {
	hub   *hub
	spool *spool
	r     *os.File

	mu      sync.Mutex
	flushes []chan struct{} // closed when all that was in the pipe has been read
	ended   bool            // nobody reads any more
}

// pump makes a pipe of which the caller gives w to a command.
func (h *hub) pump(s *spool) (p *pump, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	_ = unix.SetNonblock(fds[0], true) // the reading end only: a command gets an ordinary pipe
	p = &pump{hub: h, spool: s, r: os.NewFile(uintptr(fds[0]), "output")}
	h.mu.Lock()
	if h.pumps == nil {
		h.pumps, h.strays = map[*pump]struct{}{}, map[*pump]struct{}{}
	}
	h.pumps[p] = struct{}{}
	h.mu.Unlock()
	return p, os.NewFile(uintptr(fds[1]), "output"), nil
}

// start begins to read.
func (p *pump) start() {
	p.hub.wait.Go(func() {
		p.run()
		p.close()
	})
}

func (p *pump) close() {
	p.hub.mu.Lock()
	delete(p.hub.pumps, p)
	delete(p.hub.strays, p)
	p.hub.mu.Unlock()
	_ = p.r.Close()
}

// flush returns when what is in the pipe by now has been read. The first is for
// the command's end: what comes later is stray.
func (p *pump) flush() {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	done := make(chan struct{})
	p.flushes = append(p.flushes, done)
	_ = p.r.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	p.mu.Unlock()
	<-done
}

// flushed lets go of those who wait, and of the deadline unless it was the end.
func (p *pump) flushed(end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, done := range p.flushes {
		close(done)
	}
	p.flushes, p.ended = nil, end
	if !end {
		_ = p.r.SetReadDeadline(time.Time{})
	}
}

// run reads until the last writer is gone.
func (p *pump) run() {
	defer p.flushed(true)
	to, buf := p.spool.Write, make([]byte, chunkSize)
	for {
		n, err := p.r.Read(buf)
		_, _ = to(buf[:n])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.rest(to)
			to = p.hub.stray
			p.hub.mu.Lock()
			p.hub.strays[p] = struct{}{}
			p.hub.mu.Unlock()
			p.flushed(false)
		case err != nil:
			return
		}
	}
}

// rest reads what is in the pipe at this moment and no more: a background
// process that prints without end must not hold the command.
func (p *pump) rest(to func([]byte) (int, error)) {
	raw, err := p.r.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // unlike Read, not bound by the deadline
		left, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		buf := make([]byte, min(max(left, 1), chunkSize))
		for err == nil && left > 0 {
			var n int
			n, err = unix.Read(int(fd), buf[:min(left, len(buf))])
			if err == unix.EINTR {
				err = nil
				continue
			}
			if n <= 0 {
				return
			}
			left -= n
			_, _ = to(buf[:n])
		}
	})
}

// follow writes a spool from a byte on to w until it has ended. stop ends it
// before that.
func (s *spool) follow(w io.Writer, from int64, stop <-chan struct{}) error {
	buf := make([]byte, chunkSize)
	for off := from; ; {
		n, more, err := s.read(buf, off)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			off += int64(n)
			continue
		}
		if err != nil {
			return fmt.Errorf("read the output back: %w", err)
		}
		if more == nil {
			return nil
		}
		select {
		case <-more:
		case <-stop:
			return nil
		}
	}
}
