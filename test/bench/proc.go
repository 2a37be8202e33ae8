package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold anything; state and parent come behind it.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) < 2 || f[1] != strconv.Itoa(pid) {
			continue
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		found = append(found, child)
	}
	return found, nil
}

// memory reads a line of /proc/PID/status, such as VmRSS, in bytes.
func (s *served) memory(name string) (int64, error) {
	text, err := os.ReadFile(s.proc("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("%s: no %s", s.proc("status"), name)
}

// forgetPeak has VmHWM count from now on, and says how much is in use.
func (s *served) forgetPeak() (int64, error) {
	const resetPeak = "5" // proc(5), clear_refs
	if err := os.WriteFile(s.proc("clear_refs"), []byte(resetPeak), 0); err != nil {
		return 0, err
	}
	return s.memory("VmRSS")
}

func (s *served) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), name)
}

// worked is the processor time that the server has had. It is the kernel's clock
// of the process: stat counts in hundredths of a second, which is more than an
// idle server takes, and a sum over its threads loses those that end.
func (s *served) worked() (time.Duration, error) {
	const ofProcess = 2 // CPUCLOCK_SCHED, clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|ofProcess), &t); err != nil {
		return 0, fmt.Errorf("processor time of the server: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
