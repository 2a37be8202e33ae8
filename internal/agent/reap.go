package agent

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper owns all starting of and waiting for processes. It reaps every orphan
// that falls to the agent, and tells the others' ends to who started them.
type reaper struct {
	mu      sync.Mutex
	closed  bool // nothing starts any more
	started map[int]func(unix.WaitStatus, unix.Rusage)
	reaped  chan struct{} // closed and replaced whenever something was reaped
	sigs    chan os.Signal
	spawns  chan func() // what the spawning thread does
}

func newReaper() (*reaper, error) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return nil, fmt.Errorf("/proc is not mounted in the sandbox, and the agent needs it: %w", err)
	}
	r := &reaper{
		started: map[int]func(unix.WaitStatus, unix.Rusage){},
		reaped:  make(chan struct{}),
		sigs:    make(chan os.Signal, 1),
		spawns:  make(chan func()),
	}
	signal.Notify(r.sigs, syscall.SIGCHLD)
	go r.spawner() // ends with close
	return r, nil
}

func (r *reaper) close() {
	signal.Stop(r.sigs)
	close(r.spawns)
}

// spawner starts processes on one thread that lives as long as the agent,
// because the kernel's parent-death signal is about the thread that forked.
func (r *reaper) spawner() {
	runtime.LockOSThread()
	for f := range r.spawns {
		f()
	}
}

// start forks and execs; ended is called once, when the process has been reaped.
// The process dies with the agent.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr, ended func(unix.WaitStatus, unix.Rusage)) (int, error) {
	var pid int
	var err error
	fork := func() {
		r.mu.Lock() // until the pid is known: the reaper looks it up under the same lock
		defer r.mu.Unlock()
		if r.closed {
			err = syscall.ESHUTDOWN
			return
		}
		pid, err = syscall.ForkExec(path, argv, attr)
		if err == nil {
			r.started[pid] = ended
		}
	}
	if ownsNamespace() {
		fork() // the kernel ends the whole namespace with its first process
	} else {
		attr.Sys.Pdeathsig = syscall.SIGKILL
		done := make(chan struct{})
		r.spawns <- func() { defer close(done); fork() }
		<-done
	}
	if err == nil {
		preferForOOM(pid)
	}
	return pid, err
}

// preferForOOM makes the kernel choose the build and not the agent when memory
// runs out. Where it may not be set, the bigger process goes first anyway.
func preferForOOM(pid int) {
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	_, _ = f.WriteString("1000")
	_ = f.Close()
}

// run reaps until stop is closed. All ends are told before it returns.
func (r *reaper) run(stop <-chan struct{}) {
	for {
		select {
		case <-r.sigs:
			r.reap()
		case <-stop:
			r.reap()
			return
		}
	}
}

// reap waits for all that has ended, without blocking.
func (r *reaper) reap() {
	any := false
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, &usage)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		any = true
		r.mu.Lock()
		ended := r.started[pid]
		delete(r.started, pid)
		r.mu.Unlock()
		if ended != nil {
			ended(status, usage)
		}
	}
	if any {
		r.mu.Lock()
		close(r.reaped)
		r.reaped = make(chan struct{})
		r.mu.Unlock()
	}
}

// next is closed when something more was reaped.
func (r *reaper) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reaped
}

// signalGroup signals a started process and its group, unless it was reaped: the
// number may be another's by then. It says whether it did.
func (r *reaper) signalGroup(pid int, sig syscall.Signal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.started[pid]; !ok {
		return false
	}
	_ = unix.Kill(-pid, sig)
	return true
}
