package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// killAll ends every process below the agent and returns when the last of them
// was reaped. Nothing starts afterwards.
func (r *reaper) killAll(cgroup string) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for {
		next := r.next()
		if cgroup != "" {
			_ = os.WriteFile(filepath.Join(cgroup, "cgroup.kill"), []byte("1"), 0)
		}
		if ownsNamespace() {
			_ = unix.Kill(-1, unix.SIGKILL)
		} else {
			killTree()
		}
		if !hasChildren() {
			return
		}
		<-next // a killed process is always reaped, and the next look is after that
	}
}

// ownsNamespace says whether this is the first process of a PID namespace of a
// sandbox, so that "every process" is the sandbox's and nobody else's.
func ownsNamespace() bool { return os.Getpid() == 1 }

func hasChildren() bool {
	// WNOWAIT leaves what has ended to the reaper.
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != unix.ECHILD
}

// killTree kills all descendants. They are stopped first, over and over until no
// new one is found, because a stopped process forks no more; killing at once
// would leave a fork bomb room to refill. Processes that start a successor and
// end are only caught by being quicker than they are, so this looks at the
// children alone (what is orphaned is among the agent's own) and goes first in
// line for the processor where it may. Only a control group or a PID namespace
// makes this certain at a stroke.
func killTree() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if old, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && unix.Setpriority(unix.PRIO_PROCESS, 0, -20) == nil {
		defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-old) }() // the system call counts from 40 down
	}
	stopped := map[int]bool{}
	for {
		fresh := false
		each(os.Getpid(), func(p int) {
			if !stopped[p] {
				stopped[p] = true
				fresh = true
				_ = unix.Kill(p, unix.SIGSTOP)
			}
		})
		if !fresh {
			break
		}
	}
	for p := range stopped {
		_ = unix.Kill(p, unix.SIGKILL)
	}
}

// each goes over the descendants of a process, parents first, telling each as
// soon as it is found.
func each(root int, f func(pid int)) {
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children"); err != nil {
		for _, p := range descendants(root) { // a kernel without that file
			f(p)
		}
		return
	}
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		base := "/proc/" + strconv.Itoa(queue[0]) + "/task/"
		tasks, err := os.ReadDir(base)
		if err != nil {
			continue // it has ended
		}
		for _, t := range tasks {
			list, err := os.ReadFile(base + t.Name() + "/children")
			if err != nil {
				continue
			}
			for _, field := range bytes.Fields(list) {
				if pid, err := strconv.Atoi(string(field)); err == nil {
					f(pid)
					queue = append(queue, pid)
				}
			}
		}
	}
}

// proc is a line of the process table.
type proc struct {
	pid, parent, group, session int
	zombie                      bool
}

// table reads the process table.
func table() []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold anything; what follows its last ")" is ours to count.
		i := bytes.LastIndexByte(stat, ')')
		if i < 0 {
			continue
		}
		f := bytes.Fields(stat[i+1:])
		if len(f) < 4 {
			continue
		}
		p := proc{pid: pid, zombie: f[0][0] == 'Z' || f[0][0] == 'X'}
		p.parent, _ = strconv.Atoi(string(f[1]))
		p.group, _ = strconv.Atoi(string(f[2]))
		p.session, _ = strconv.Atoi(string(f[3]))
		all = append(all, p)
	}
	return all
}

// descendants are the living processes below root.
func descendants(root int) []int {
	all := table()
	children := map[int][]proc{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	var out []int
	queue := []int{root}
	for len(queue) > 0 {
		next := children[queue[0]]
		queue = queue[1:]
		for _, p := range next {
			queue = append(queue, p.pid)
			if !p.zombie {
				out = append(out, p.pid)
			}
		}
	}
	return out
}

// members are the living processes of a command: those of its session, and
// those below its main process that made sessions of their own.
func members(main int) []int {
	seen := map[int]bool{}
	var out []int
	for _, p := range table() {
		if p.session == main && !p.zombie {
			seen[p.pid] = true
			out = append(out, p.pid)
		}
	}
	for _, p := range descendants(main) {
		if !seen[p] {
			out = append(out, p)
		}
	}
	return out
}

// signalAll signals every process of a command; false when there is none left.
func (r *reaper) signalAll(main int, sig syscall.Signal) bool {
	alive := r.signalGroup(main, sig)
	for _, p := range members(main) {
		alive = true
		if sig != 0 {
			_ = unix.Kill(p, sig)
		}
	}
	return alive
}
