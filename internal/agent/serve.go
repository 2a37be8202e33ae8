package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Config is one sandbox's.
type Config struct {
	Listener net.Listener // unix socket, already listening; Serve closes it
	Dirs     ci.Dirs
	Spool    string   // directory for unlinked output files
	Scripts  string   // directory for the scripts while they run; every run-as user must be able to walk into it. "" = Dirs.Temp
	Env      []string // base environment of every command (PATH, HOME, ...); Command.Env comes on top

	// Ready is written "ready\n" and closed once the agent takes connections, so
	// that who started it can wait by reading the other end. Nil = nobody waits.
	Ready *os.File

	// Reserve is called beside the first requests and before the first command: for
	// what must be had before a build can take it. Nil = nothing.
	Reserve func()

	// Cgroup is a cgroup v2 directory that holds the commands and not the agent;
	// its cgroup.kill then ends them all at once. "" = none.
	Cgroup string

	// OOMEvents is a file with an "oom_kill N" line (memory.events of cgroup v2,
	// memory.oom_control of v1) that counts what the kernel killed at the memory
	// limit. Opened when Serve begins. "" = not known.
	OOMEvents string

	// OwnNetwork says that the network is the sandbox's alone, so that what goes over
	// it is its commands'.
	OwnNetwork bool
}

// lastWords is how long clients get to read results once everything was killed.
const lastWords = 2 * time.Second

// Serve serves one sandbox until the Shutdown request or ctx ends; then it kills
// everything it started, also what left its session, and returns.
//
// It makes the process the reaper of all its descendants and waits for every
// child of the process: nothing else in it may wait for children of its own.
func Serve(ctx context.Context, c Config) error {
	a, err := newAgent(c)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.shutdown = cancel

	var reaping, accepting, conns sync.WaitGroup
	stopReaper := make(chan struct{})
	reaping.Go(func() { a.procs.run(stopReaper) })
	accepting.Go(func() { a.accept(ctx, &conns) })
	if c.Ready != nil {
		_, _ = c.Ready.WriteString("ready\n")
		_ = c.Ready.Close()
	}
	go a.reserve()

	<-ctx.Done()
	a.procs.killAll(c.Cgroup)
	close(a.dead)
	close(stopReaper)
	reaping.Wait()
	a.steps.finish()
	a.output.close()
	_ = c.Listener.Close()
	accepting.Wait()
	a.conns.deadline(time.Now().Add(lastWords))
	conns.Wait()
	a.close()
	return nil
}

// agent is the state of one Serve.
type agent struct {
	Config
	procs    *reaper
	steps    *steps
	sessions *sessions
	scripts  *scripts
	output   *hub
	oom      *oomCounter
	conns    connSet
	shutdown context.CancelFunc
	dead     chan struct{} // closed when everything was killed
	reserve  func()        // Config.Reserve, once
}

func newAgent(c Config) (*agent, error) {
	if c.Scripts == "" {
		c.Scripts = c.Dirs.Temp
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the reaper of all descendants: %w", err)
	}
	procs, err := newReaper()
	if err != nil {
		return nil, err
	}
	a := &agent{
		Config:   c,
		procs:    procs,
		sessions: newSessions(),
		scripts:  &scripts{dir: c.Scripts},
		output:   &hub{},
		oom:      openOOM(c.OOMEvents),
		dead:     make(chan struct{}),
		reserve:  func() {},
	}
	if c.Reserve != nil {
		a.reserve = sync.OnceFunc(c.Reserve)
	}
	a.steps = &steps{byID: map[ci.StepID]*step{}}
	return a, nil
}

func (a *agent) close() {
	a.oom.close()
	a.procs.close()
}

// accept serves connections until the listener is closed.
func (a *agent) accept(ctx context.Context, conns *sync.WaitGroup) {
	for {
		conn, err := a.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely, by what the build does: those who
			// connect now wait in the backlog until some are free again.
			if !a.conns.waitForOne(ctx) {
				return
			}
			continue
		}
		a.conns.add(conn)
		conns.Go(func() {
			defer a.conns.remove(conn)
			a.serve(ctx, conn)
		})
	}
}

// connSet is the open connections.
type connSet struct {
	mu    sync.Mutex
	open  map[net.Conn]struct{}
	freed chan struct{}
}

func (s *connSet) add(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[net.Conn]struct{}{}
	}
	s.open[c] = struct{}{}
}

func (s *connSet) remove(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

func (s *connSet) deadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.SetDeadline(t)
	}
}

// waitForOne waits until a connection was closed, or a moment when there is none.
func (s *connSet) waitForOne(ctx context.Context) bool {
	s.mu.Lock()
	if s.freed == nil {
		s.freed = make(chan struct{})
	}
	freed := s.freed
	s.mu.Unlock()
	select {
	case <-freed:
		return true
	case <-time.After(50 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}
