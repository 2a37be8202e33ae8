package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// groups are the cgroups of one sandbox, by absolute path, so that whoever
// sweeps finds them wherever he stands himself.
type groups struct {
	Unified string            `json:"unified,omitempty"` // v2
	V1      map[string]string `json:"v1,omitempty"`      // by controller
}

// limits of one sandbox; 0 = none.
type limits struct {
	cpus      float64
	memory    int64
	processes int64
}

// held is what became of the limits, in words for Placed and for Probe.
type held struct {
	Kind   string   // "v1", "v2", "hybrid", ""
	Holds  []string // cpu, memory, pids
	Misses []string // why something asked for does not hold
	// Fallback is what holds a limit without cgroups.
	Fallback string
}

func (h held) holds(controller string) bool { return slices.Contains(h.Holds, controller) }

// String is the part of Placed.Isolation about limits.
func (h held) String() string {
	var parts []string
	if len(h.Holds) > 0 {
		parts = append(parts, "cgroup "+h.Kind+" ("+strings.Join(h.Holds, ", ")+")")
	}
	if len(h.Misses) > 0 || len(h.Holds) == 0 {
		why := "no cgroup limits"
		if len(h.Holds) > 0 {
			why = "not limited"
		}
		if len(h.Misses) > 0 {
			why += ": " + strings.Join(h.Misses, ", ")
		}
		parts = append(parts, why)
	}
	if h.Fallback != "" {
		parts = append(parts, h.Fallback)
	}
	return strings.Join(parts, "; ")
}

// plan names the groups for a sandbox, without making them.
func (h *hierarchy) plan(name string) groups {
	var g groups
	for c, p := range h.v1 {
		if g.V1 == nil {
			g.V1 = map[string]string{}
		}
		g.V1[c] = filepath.Join(p.own, "sluice", name)
	}
	if h.unified != nil {
		if parent, _ := h.v2Parent(); parent != "" {
			g.Unified = filepath.Join(parent, "sluice", name)
		}
	}
	return g
}

// make makes the groups and sets the limits. Groups that may not be made are
// taken out of g, and the answer says what does not hold because of it.
func (h *hierarchy) make(g *groups, l limits) held {
	res := held{Kind: h.kind()}
	has := map[string]bool{}
	for c, dir := range g.V1 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			delete(g.V1, c)
			res.Misses = append(res.Misses, fmt.Sprintf("%s (%s)", c, reason(err)))
			continue
		}
		has[c] = true
	}
	if g.Unified != "" {
		if err := os.MkdirAll(g.Unified, 0o755); err != nil {
			res.Misses = append(res.Misses, fmt.Sprintf("cgroup v2 (%s)", reason(err)))
			g.Unified = ""
		} else if h.controls() {
			on := enable(filepath.Dir(g.Unified))
			for _, c := range on {
				has[c] = true
			}
			if len(on) == 0 {
				res.Misses = append(res.Misses, "the cgroup above hands on no controllers, since it holds processes itself, as in a container")
			}
		}
	} else if h.unified != nil && h.controls() {
		_, why := h.v2Parent()
		res.Misses = append(res.Misses, why)
	}
	for _, s := range g.settings(l) {
		if !has[s.controller] {
			continue
		}
		if err := os.WriteFile(s.path, []byte(s.value), 0); err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			res.Misses = append(res.Misses, fmt.Sprintf("%s (%s)", s.controller, reason(err)))
			has[s.controller] = false
		}
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if has[c] {
			res.Holds = append(res.Holds, c)
		}
	}
	slices.Sort(res.Misses)
	return res
}

// reason is the bare cause, because the path of a cgroup file tells a user nothing.
func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// setting is one file to write.
type setting struct {
	controller, path, value string
	optional                bool // not every kernel has it
}

// cpuPeriod is the kernel's own default, in microseconds.
const cpuPeriod = 100_000

func (g groups) settings(l limits) []setting {
	var out []setting
	add := func(controller, v1, v2, value string, optional bool) {
		if dir := g.V1[controller]; dir != "" {
			if v1 != "" {
				out = append(out, setting{controller, filepath.Join(dir, v1), value, optional})
			}
		} else if g.Unified != "" && v2 != "" {
			out = append(out, setting{controller, filepath.Join(g.Unified, v2), value, optional})
		}
	}
	if l.memory > 0 {
		bytes := strconv.FormatInt(l.memory, 10)
		add("memory", "memory.limit_in_bytes", "memory.max", bytes, false)
		add("memory", "memory.memsw.limit_in_bytes", "", bytes, true) // swap would undo the limit
		add("memory", "", "memory.swap.max", "0", true)
	}
	if l.cpus > 0 {
		quota := strconv.Itoa(max(int(l.cpus*cpuPeriod), 1000)) // less than 1 ms is refused
		period := strconv.Itoa(cpuPeriod)
		add("cpu", "cpu.cfs_period_us", "", period, false)
		add("cpu", "cpu.cfs_quota_us", "", quota, false)
		add("cpu", "", "cpu.max", quota+" "+period, false)
	}
	if l.processes > 0 {
		add("pids", "pids.max", "pids.max", strconv.FormatInt(l.processes, 10), false)
	}
	return out
}

// enable hands the controllers we want from the group above dir to dir, and from
// dir to the sandboxes below. The answer is what arrived.
func enable(dir string) []string {
	for _, d := range []string{filepath.Dir(dir), dir} {
		on, _ := os.ReadFile(filepath.Join(d, "cgroup.subtree_control"))
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !slices.Contains(strings.Fields(string(on)), c) {
				// One by one: a controller that is not to be had must not cost the others.
				_ = os.WriteFile(filepath.Join(d, "cgroup.subtree_control"), []byte("+"+c), 0)
			}
		}
	}
	on, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	return strings.Fields(string(on))
}

// enter runs start, which forks, so that what it forks is in the groups of cgroup
// v1 from its first instruction on. v1 cannot clone into a group; but a child
// begins in the groups of the thread that forks it, and a thread may move itself
// at no cost. (Moving a process from outside takes a lock for milliseconds, and
// comes too late.) The thread then ends: moving back costs more than a new one.
func (g groups) enter(h *hierarchy, start func() error) error {
	if len(g.V1) == 0 {
		return start()
	}
	answer := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: nobody else runs in these groups
		for c, dir := range g.V1 {
			if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte("0"), 0); err != nil {
				answer <- fmt.Errorf("enter the %s cgroup: %w", c, err)
				return
			}
		}
		err := start()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and would keep the groups from being removed.
			for c := range g.V1 {
				_ = os.WriteFile(filepath.Join(h.v1[c].own, "tasks"), []byte("0"), 0)
			}
		}
		answer <- err
	}()
	return <-answer
}

// file is where a controller's file is, by its v1 and its v2 name; "" = nowhere.
func (g groups) file(controller, v1, v2 string) string {
	if dir := g.V1[controller]; dir != "" {
		return filepath.Join(dir, v1)
	}
	if g.Unified != "" {
		return filepath.Join(g.Unified, v2)
	}
	return ""
}

// oomEvents is the file with the "oom_kill N" line.
func (g groups) oomEvents() string { return g.file("memory", "memory.oom_control", "memory.events") }

// usage reads what the sandbox took so far. What is not accounted here is zero.
func (g groups) usage() ci.Usage {
	var u ci.Usage
	if dir := g.V1["cpuacct"]; dir != "" {
		u.CPUSeconds = float64(number(filepath.Join(dir, "cpuacct.usage"), "")) / 1e9
	} else if g.Unified != "" {
		u.CPUSeconds = float64(number(filepath.Join(g.Unified, "cpu.stat"), "usage_usec")) / 1e6
	}
	u.PeakMemory = number(g.file("memory", "memory.max_usage_in_bytes", "memory.peak"), "")
	u.OOMKills = int(number(g.oomEvents(), "oom_kill"))
	return u
}

// number reads a number from a file, or the one on the line that begins with key.
func number(path, key string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) == 0 || (key != "" && (f[0] != key || len(f) < 2)) {
			continue
		}
		n, _ := strconv.ParseInt(f[len(f)-1], 10, 64)
		return n
	}
	return 0
}

// all lists the groups' folders.
func (g groups) all() []string {
	var dirs []string
	for _, d := range g.V1 {
		dirs = append(dirs, d)
	}
	if g.Unified != "" {
		dirs = append(dirs, g.Unified)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// kill ends every process in the groups and returns when they are empty.
func (g groups) kill(ctx context.Context) error {
	for _, dir := range g.all() {
		// No forks from here on, so that a fork bomb cannot outrun the loop below.
		_ = os.WriteFile(filepath.Join(dir, "pids.max"), []byte("0"), 0)
	}
	if g.Unified != "" {
		_ = os.WriteFile(filepath.Join(g.Unified, "cgroup.kill"), []byte("1"), 0) // since Linux 5.14
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		alive := 0
		for _, dir := range g.all() {
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				continue
			}
			for _, f := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					alive++
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		if alive == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end %d processes of the sandbox: %w", alive, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// remove removes the groups; their processes must have ended.
func (g groups) remove(ctx context.Context) error {
	for _, dir := range g.all() {
		for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
			err := removeGroup(dir)
			if err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("remove the cgroup: %w", err)
			}
			select { // the kernel takes its time to let go of what has just ended
			case <-ctx.Done():
				return fmt.Errorf("remove the cgroup %s: %w: %w", dir, err, context.Cause(ctx))
			case <-time.After(wait):
			}
		}
	}
	return nil
}

// removeGroup removes a group and those that were made below it.
func removeGroup(dir string) error {
	err := unix.Rmdir(dir)
	if err != unix.EBUSY {
		if err != nil {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		return readErr
	}
	for _, d := range entries {
		if d.IsDir() {
			_ = removeGroup(filepath.Join(dir, d.Name()))
		}
	}
	if err := unix.Rmdir(dir); err != nil {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
