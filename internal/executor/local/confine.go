package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine gives up what no build must have, for this process and all that it
// will start. It is one-way.
//
// no_new_privs is not set: a run-as user may use sudo, as on CodeBuild's images.
// What a setuid program can gain is what the sandbox's root has from the start,
// over the sandbox's own user namespace.
func (o *order) confine(r *report) error {
	if err := hideFromBuild(); err != nil {
		return err
	}
	if o.Privileged {
		return nil
	}
	// A probe with a call that changes nothing.
	err := allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
	if errors.Is(err, unix.ENOTSUP) {
		return o.confineByExec()
	}
	return confineThreads(allThreads)
}

// hideFromBuild keeps the build's root out of the agent's memory and descriptors:
// that now needs a capability that no build has.
func hideFromBuild() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep the build out of the agent: %w", err)
	}
	return nil
}

func confineThreads(call everyThread) error {
	scopeSockets(call)
	if err := installFilter(); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	return dropCapabilities(call)
}

// confineByExec is for a binary that holds C code, whose threads Go cannot reach:
// it confines one thread and execs itself from there, which ends all others.
func (o *order) confineByExec() error {
	runtime.LockOSThread()
	pipe := [2]int{}
	if err := unix.Pipe2(pipe[:], 0); err != nil {
		return fmt.Errorf("start the second stage: %w", err)
	}
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("start the second stage: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_SETPIPE_SZ, 1<<20); err != nil && len(data) > 60_000 {
		return fmt.Errorf("start the second stage: %w", err)
	}
	if _, err := unix.Write(pipe[1], data); err != nil {
		return fmt.Errorf("start the second stage: %w", err)
	}
	_ = unix.Close(pipe[1])
	if pipe[0] != orderFD { // it is when the first order's place was the lowest free one
		if err := unix.Dup2(pipe[0], orderFD); err != nil {
			return fmt.Errorf("start the second stage: %w", err)
		}
		_ = unix.Close(pipe[0])
	}
	for _, fd := range []int{reportFD, socketFD, o.Spool} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("start the second stage: %w", err)
		}
	}
	if err := confineThreads(thisThread); err != nil {
		return err
	}
	err = syscall.Exec("/proc/self/exe", []string{Argv0, stageTwo}, os.Environ())
	return fmt.Errorf("start the second stage: %w", err)
}

// scopeSockets closes off abstract unix sockets of the host, which a shared
// network would otherwise let a build connect to (desktop buses, some container
// engines). Kernels before 6.12 cannot.
func scopeSockets(call everyThread) {
	attr := struct{ fs, net, scoped uint64 }{scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return
	}
	_ = call(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	_ = unix.Close(int(fd))
}
