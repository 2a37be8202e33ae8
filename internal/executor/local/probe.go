package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Finding is one thing that was looked at.
type Finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Note string `json:"note"`         // what was found
	Todo string `json:"do,omitempty"` // what to do about it, when it is not OK
}

// Report says what this machine allows, for `sluice doctor`.
type Report struct {
	Isolation []string  `json:"isolation"` // the levels that work here
	Placed    string    `json:"placed"`    // what a sandbox says of itself
	Findings  []Finding `json:"findings"`
}

// Probe looks at the machine, and opens and closes a sandbox of each level to be sure.
func (e *Executor) Probe(ctx context.Context) Report {
	r := Report{}
	r.add(kernel())
	r.add(namespaces())
	r.add(userIDs())
	for _, level := range []string{Sandboxed, GVisor, Plain} {
		placed, err := e.try(ctx, level)
		f := Finding{Name: "isolation " + level, OK: err == nil, Note: placed}
		if err != nil {
			f.Note, f.Todo = err.Error(), todo(level)
		} else {
			r.Isolation = append(r.Isolation, level)
		}
		if level == Sandboxed && err == nil {
			r.Placed = placed
			r.add(overlays(placed))
		}
		r.add(f)
	}
	r.add(seccomp())
	r.add(e.cgroups(ctx))
	return r
}

func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }

func todo(level string) string {
	switch level {
	case GVisor:
		return "install runsc from gvisor.dev and put it on PATH, if you want this level"
	case Sandboxed:
		return "see the findings above; until then choose --isolation none or the docker executor"
	}
	return "see the message"
}

// try opens a sandbox of a level and runs nothing in it.
func (e *Executor) try(ctx context.Context, level string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	job := ci.NewBuildID(time.Now()).Job("doctor", 1)
	s, err := e.Open(ctx, ci.Placement{Job: job, Runtime: ci.Runtime{Isolation: level}})
	if err != nil {
		return "", err
	}
	placed := s.Placed().Isolation
	if err := s.Close(context.WithoutCancel(ctx)); err != nil {
		return placed, err
	}
	return placed, nil
}

// oldestKernel has mount_setattr and overlays in user namespaces.
var oldestKernel = [2]int{5, 12}

func kernel() Finding {
	f := Finding{Name: "kernel"}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.Note = err.Error()
		return f
	}
	f.Note = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	var major, minor int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	f.OK = major > oldestKernel[0] || major == oldestKernel[0] && minor >= oldestKernel[1]
	if !f.OK {
		f.Todo = fmt.Sprintf("the sandbox needs Linux %d.%d or newer; older ones have isolation none and the docker executor", oldestKernel[0], oldestKernel[1])
	}
	return f
}

// namespaces reads the settings that forbid user namespaces to ordinary users.
func namespaces() Finding {
	f := Finding{Name: "user namespaces", OK: true, Note: "allowed"}
	for path, bad := range map[string]string{
		"/proc/sys/user/max_user_namespaces":                     "0",
		"/proc/sys/kernel/unprivileged_userns_clone":             "0",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
	} {
		data, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(data)) != bad || os.Geteuid() == 0 && !strings.Contains(path, "max_user") {
			continue
		}
		good := "1"
		switch filepath.Base(path) {
		case "max_user_namespaces":
			good = "15000"
		case "apparmor_restrict_unprivileged_userns":
			good = "0"
		}
		name := strings.ReplaceAll(strings.TrimPrefix(path, "/proc/sys/"), "/", ".")
		f.OK, f.Note = false, name+" is "+bad
		f.Todo = "as root: sysctl -w " + name + "=" + good
	}
	return f
}

func userIDs() Finding {
	f := Finding{Name: "other users (run-as)"}
	m, err := chooseMaps()
	switch {
	case err != nil:
		f.Note = err.Error()
	case m.Helpers:
		f.OK, f.Note = true, fmt.Sprintf("%d users from /etc/subuid", m.Users[1].Size)
	case !m.single():
		f.OK, f.Note = true, "all (root)"
	default:
		f.Note = "a sandbox has one user"
		f.Todo = "for run-as: install newuidmap (package uidmap), and as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + os.Getenv("USER")
		if _, err := exec.LookPath("newuidmap"); err == nil {
			f.Todo = strings.Replace(f.Todo, "install newuidmap (package uidmap), and as root", "as root", 1)
		}
	}
	return f
}

func overlays(placed string) Finding {
	f := Finding{Name: "overlayfs", OK: strings.Contains(placed, "; overlay"), Note: "builds may change all that they see of the host, in their sandbox"}
	if !f.OK || strings.Contains(placed, "is read-only") {
		f.OK, f.Note = false, "some of the host's folders are read-only in builds: "+placed
		f.Todo = "folders that have other mounts below them cannot be overlaid; put the state folder on ext4, xfs, btrfs or tmpfs"
	}
	return f
}

func seccomp() Finding {
	f := Finding{Name: "seccomp", OK: len(machineABIs()) > 0, Note: "system calls are filtered"}
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); errors.Is(err, os.ErrNotExist) || !f.OK {
		f.OK, f.Note, f.Todo = false, "not in this kernel, or no rules for this machine", "nothing; namespaces and capabilities still hold"
	}
	return f
}

func (e *Executor) cgroups(ctx context.Context) Finding {
	f := Finding{Name: "cgroups"}
	h, err := e.groups()
	if err != nil {
		f.Note = err.Error()
		return f
	}
	probe := folder{root: e.cfg.Root, name: fmt.Sprintf("doctor-%d", os.Getpid())}
	g := h.plan(probe.group())
	state := h.make(&g, limits{memory: 1 << 30, cpus: 1, processes: 100})
	if err := g.remove(ctx); err != nil {
		state.Misses = append(state.Misses, err.Error())
	}
	f.Note, f.OK = state.String(), len(state.Holds) == 3
	if !f.OK {
		f.Todo = "run sluice as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes sluice ... (cgroup v2)"
	}
	if h.kind() == "none" {
		f.Note, f.Todo = "none mounted", "mount a cgroup v2 hierarchy at /sys/fs/cgroup"
	}
	return f
}
