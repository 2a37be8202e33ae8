package agent

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// steps is every step that was ever asked for, by ID.
type steps struct {
	mu   sync.Mutex
	byID map[ci.StepID]*step
	wait sync.WaitGroup // of their goroutines
}

// step is one command, before, while and after it runs.
type step struct {
	id    ci.StepID
	spool *spool
	done  chan struct{} // closed when exit is set
	exit  ci.Exit

	begun chan struct{} // closed when pid is set
	pid   int           // main process; 0 when it never ran
}

// findOrAdd is the one place where a step comes to be.
func (s *steps) findOrAdd(id ci.StepID, dir string) (st *step, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byID[id]; st != nil {
		return st, false
	}
	st = &step{id: id, spool: &spool{dir: dir}, done: make(chan struct{}), begun: make(chan struct{})}
	s.byID[id] = st
	return st, true
}

func (s *steps) find(id ci.StepID) (*step, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byID[id]; st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("step %q was not started in this sandbox: %w", id, ci.ErrNotFound)
}

// finish waits for all steps to be told their end.
func (s *steps) finish() { s.wait.Wait() }

// ended ends the step.
func (st *step) ended(exit ci.Exit) {
	exit.Ended = time.Now()
	st.exit = exit
	st.spool.end()
	close(st.done)
}

// refuse ends a step that could not be started. It is a result, not a fault: the
// build asked for what is not there.
func (st *step) refuse(err error) {
	fmt.Fprintf(st.spool, "sluice: %v\n", err)
	code := 126
	if errors.Is(err, syscall.ENOENT) {
		code = 127
	}
	st.ended(ci.Exit{Code: code})
}

// start runs a command unless its ID was seen before.
func (a *agent) start(cmd ci.Command) error {
	if err := checkCommand(cmd); err != nil {
		return err
	}
	st, added := a.steps.findOrAdd(cmd.ID, a.Spool)
	if !added {
		return nil
	}
	defer close(st.begun)
	if err := a.launch(st, cmd); err != nil {
		st.refuse(err)
	}
	return nil
}

func checkCommand(cmd ci.Command) error {
	if cmd.ID == "" {
		return fmt.Errorf("command without an ID: %w", ci.ErrInvalid)
	}
	for _, s := range append([]string{cmd.Script, cmd.Shell, cmd.Dir, cmd.User}, cmd.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("command %s: a NUL byte in its script, shell, directory, user or environment: %w", cmd.ID, ci.ErrInvalid)
		}
	}
	return nil
}

// launch starts the command's shell. An error means that it does not run.
func (a *agent) launch(st *step, cmd ci.Command) error {
	s, err := a.setup(cmd.User, cmd.Session, cmd.Dir, cmd.Shell, cmd.Env)
	if err != nil {
		return err
	}
	// Should the first script of a session be killed, the next still has the
	// environment that this one was given.
	a.sessions.begin(cmd.Session, state{dir: s.dir, env: s.env})
	folder, err := a.scripts.write(s, cmd)
	if err != nil {
		return err
	}
	pump, w, err := a.output.pump(st.spool)
	if err != nil {
		folder.remove()
		return err
	}
	defer func() { _ = w.Close() }()
	_ = w.Chown(int(s.who.uid), int(s.who.gid)) // so that `echo > /dev/stderr` works for it
	ends := make(chan ending, 1)
	attr := s.attr(w)
	if cmd.Capture {
		null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		if err == nil {
			defer func() { _ = null.Close() }()
			attr.Files[2] = null.Fd()
		}
	}
	stdin, err := emptyInput()
	if err == nil {
		defer func() { _ = stdin.Close() }()
		attr.Files[0] = stdin.Fd()
		killed := a.oom.count()
		if !cmd.Capture {
			a.output.join(st.spool)
		}
		var pid int
		pid, err = a.procs.start(s.shell, []string{s.shell, folder.script()}, attr, func(ws unix.WaitStatus, ru unix.Rusage) {
			ends <- ending{ws, ru}
		})
		if err == nil {
			st.pid = pid
			pump.start()
			a.steps.wait.Go(func() { a.follow(st, cmd.Session, folder, pump, ends, killed) })
			return nil
		}
		a.output.leave(st.spool)
	}
	pump.close()
	folder.remove()
	return s.explain(err)
}

// ending is what the kernel says about a process that has ended.
type ending struct {
	status unix.WaitStatus
	usage  unix.Rusage
}

// exit puts it in ci's words.
func (e ending) exit() ci.Exit {
	x := ci.Exit{
		Code: e.status.ExitStatus(),
		Usage: ci.Usage{
			CPUSeconds: seconds(e.usage.Utime) + seconds(e.usage.Stime),
			PeakMemory: e.usage.Maxrss * 1024,
			// Of its children too; what stayed in the cache was neither read nor written.
			DiskRead: e.usage.Inblock * block, DiskWritten: e.usage.Oublock * block,
		},
	}
	if e.status.Signaled() {
		x.Code = 128 + int(e.status.Signal())
		x.Signal = e.status.Signal().String()
	}
	return x
}

// block is the unit in which the kernel counts (getrusage(2)).
const block = 512

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// follow waits for the end of a command and records all about it, then removes
// its files.
func (a *agent) follow(st *step, session string, folder *folder, pump *pump, ends <-chan ending, killed int) {
	s := newSampler(st.pid, a.OwnNetwork, time.Now())
	look := time.NewTimer(s.pause(s.began))
	defer look.Stop()
	var end ending
	for running := true; running; {
		select {
		case end = <-ends:
			running = false
		case now := <-look.C:
			s.look(now)
			look.Reset(s.pause(now))
		}
	}
	pump.flush()
	a.output.settle()
	exit := end.exit()
	exit.Usage = s.end(exit.Usage, time.Now())
	if n := a.oom.count() - killed; n > 0 {
		exit.OOM = true
		exit.Usage.OOMKills = n
	}
	if session != "" {
		if state, err := folder.state(); err == nil {
			a.sessions.set(session, state)
		}
	}
	a.output.leave(st.spool)
	st.ended(exit)
	folder.remove()
}

// emptyInput is a standard input with nothing in it.
func emptyInput() (*os.File, error) {
	f, err := os.Open("/dev/null")
	if err == nil {
		return f, nil
	}
	r, w, err := os.Pipe() // a sandbox without /dev
	if err != nil {
		return nil, fmt.Errorf("make an empty standard input: %w", err)
	}
	_ = w.Close()
	return r, nil
}

// stop ends a command: SIGTERM to all its processes, after grace SIGKILL to
// those that are left. It returns when none is.
func (a *agent) stop(st *step, grace time.Duration) {
	<-st.begun
	pid := st.pid
	if pid == 0 {
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	next := a.procs.next()
	alive := a.procs.signalAll(pid, syscall.SIGTERM)
	a.procs.signalAll(pid, syscall.SIGCONT) // a stopped process would not hear of it
	for alive {
		select {
		case <-next:
			next = a.procs.next()
			alive = a.procs.signalAll(pid, 0)
		case <-timer.C:
			for alive {
				next = a.procs.next()
				if alive = a.procs.signalAll(pid, syscall.SIGKILL); alive {
					<-next
				}
			}
		}
	}
	<-st.done
}
