package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// process names a process for good: a PID alone may be used again by another.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since the boot
	Boot  string `json:"boot"`
}

// bootID is the same for as long as the machine, and so this process, runs.
var bootID = sync.OnceValues(func() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
})

// identify names the living process with that PID.
func identify(pid int) (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	start, _, err := procStat(pid)
	return process{PID: pid, Start: start, Boot: boot}, err
}

// alive says whether it still runs; one that ended and was not reaped does not.
func (p process) alive() bool {
	if boot, err := bootID(); p.PID <= 0 || err != nil || boot != p.Boot {
		return false
	}
	start, state, err := procStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// procStat reads the start time and the state of a process.
func procStat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	// The name, second, may hold spaces and parentheses: count from its end.
	i := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, 0, fmt.Errorf("process %d: cannot read %q", pid, data)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return start, fields[0][0], nil
}

// kill ends the process, and with it the PID namespace that it is the first of,
// and returns when that is done.
func (p process) kill(ctx context.Context) error {
	if p.PID <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || err != nil && !p.alive() { // by now a thread may have the number
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.alive() { // the descriptor would be that of a successor
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return waitFor(ctx, fd)
}

// waitFor waits until the process of a pidfd has ended, or ctx has.
func waitFor(ctx context.Context, pidfd int) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("wait for a process: %w", err)
	}
	defer func() { _ = unix.Close(wake) }()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		_, err = unix.Poll(fds, -1)
		if err != unix.EINTR {
			break
		}
	}
	if !stop() {
		<-woken // it uses the descriptor that is about to be closed
	}
	switch {
	case err != nil:
		return fmt.Errorf("wait for a process: %w", err)
	case fds[0].Revents == 0:
		return fmt.Errorf("wait for a process to end: %w", context.Cause(ctx))
	}
	return nil
}
