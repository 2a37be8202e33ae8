package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the variable by which the processes of a sandbox without a PID
// namespace are found once their agent is dead: every process inherits it, also
// one that left its session, and where there are no cgroups nothing else says
// whose it is.
const marker = "SLUICE_SANDBOX"

// mark is the marker of a sandbox.
func (f folder) mark() string { return marker + "=" + f.real().path() }

// killMarked ends the processes that carry the sandbox's mark.
func killMarked(ctx context.Context, f folder) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		alive := marked(f.mark())
		if len(alive) == 0 {
			return nil
		}
		for _, pid := range alive { // stopped processes fork no more
			_ = unix.Kill(pid, unix.SIGSTOP)
		}
		for _, pid := range alive {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end %d processes of the sandbox: %w", len(alive), context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// marked lists living processes that began with the variable.
func marked(mark string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, d := range entries {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile("/proc/" + d.Name() + "/environ")
		if err != nil || !bytes.Contains(append([]byte{0}, env...), append(append([]byte{0}, mark...), 0)) {
			continue
		}
		if _, state, err := procStat(pid); err == nil && state != 'Z' {
			out = append(out, pid)
		}
	}
	return out
}
