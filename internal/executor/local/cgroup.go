package local

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The controllers that limits and usage need. cpuacct is apart in cgroup v1 only.
var wanted = []string{"cpu", "cpuacct", "memory", "pids"}

// place is where this process stands in one cgroup hierarchy.
type place struct {
	mount string // where the hierarchy is mounted
	own   string // folder of this process's group, at or below mount
}

// hierarchy is the machine's cgroups as this process sees them: v1 has one
// hierarchy a controller, v2 a single one, and a hybrid machine both, with the
// controllers in v1 and a v2 mount that serves to kill.
type hierarchy struct {
	v1      map[string]place
	unified *place
	// controllers of the v2 hierarchy, at its mount.
	controllers []string
}

// kind is "v1", "v2", "hybrid" or "none", as documentation calls it.
func (h *hierarchy) kind() string {
	switch {
	case len(h.v1) > 0 && h.unified != nil:
		return "hybrid"
	case len(h.v1) > 0:
		return "v1"
	case h.unified != nil:
		return "v2"
	}
	return "none"
}

// findHierarchy reads where this machine's cgroups are.
func findHierarchy() (*hierarchy, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find the cgroup mounts: %w", err)
	}
	defer func() { _ = mounts.Close() }()
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find our cgroup: %w", err)
	}
	defer func() { _ = own.Close() }()
	return readHierarchy(mounts, own, "/")
}

// readHierarchy parses the two files; root is put before all mount points, for tests.
func readHierarchy(mountinfo, cgroup io.Reader, root string) (*hierarchy, error) {
	paths, err := ownGroups(cgroup)
	if err != nil {
		return nil, err
	}
	h := &hierarchy{v1: map[string]place{}}
	err = eachMount(mountinfo, func(m mount) {
		at := filepath.Join(root, m.point)
		switch m.fsType {
		case "cgroup2":
			if own, ok := paths[""]; ok && h.unified == nil {
				h.unified = &place{mount: at, own: below(at, m.root, own)}
			}
		case "cgroup":
			for _, c := range strings.Split(m.options, ",") {
				own, ok := paths[c]
				if _, seen := h.v1[c]; ok && !seen && slices.Contains(wanted, c) {
					h.v1[c] = place{mount: at, own: below(at, m.root, own)}
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if h.unified != nil {
		data, err := os.ReadFile(filepath.Join(h.unified.mount, "cgroup.controllers"))
		if err != nil {
			h.unified = nil
		} else {
			h.controllers = strings.Fields(string(data))
		}
	}
	return h, nil
}

// below is the folder of a group whose path in the hierarchy is own, under a
// mount that shows the hierarchy from root on. A group outside of what the mount
// shows (as in a container) stands for the mount itself.
func below(point, root, own string) string {
	rest, ok := strings.CutPrefix(own, root)
	if !ok || (root != "/" && rest != "" && rest[0] != '/') || strings.HasPrefix(rest, "/..") {
		return point
	}
	return filepath.Join(point, path.Clean("/"+rest))
}

// ownGroups reads /proc/self/cgroup: "4:memory:/path", and "0::/path" for v2,
// which is under "".
func ownGroups(r io.Reader) (map[string]string, error) {
	paths := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			paths[c] = parts[2]
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read our cgroups: %w", err)
	}
	return paths, nil
}

// mount is a line of mountinfo.
type mount struct {
	root, point, fsType, options string // options of the file system, not of the mount
}

func eachMount(r io.Reader, f func(mount)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		front, back, ok := strings.Cut(lines.Text(), " - ")
		a, b := strings.Fields(front), strings.Fields(back)
		if !ok || len(a) < 6 || len(b) < 3 {
			continue
		}
		f(mount{root: unescape(a[3]), point: unescape(a[4]), fsType: b[0], options: b[2]})
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	return nil
}

// unescape undoes the kernel's \040 for spaces and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace(s)
}

// v2Parent is the group to put sandboxes under: the highest one on the way down
// to our own that we may write and that has no processes of its own, because v2
// hands controllers only to groups below such. "" = there is none, and why.
func (h *hierarchy) v2Parent() (dir string, why string) {
	rel, err := filepath.Rel(h.unified.mount, h.unified.own)
	if err != nil {
		return "", err.Error()
	}
	dir = h.unified.mount
	why = "no cgroup above ours may be written: ask for a delegated one (systemd: Delegate=yes, or `systemd-run --user --scope -p Delegate=yes sluice ...`)"
	parts := strings.Split(rel, "/")
	for i := 0; ; i++ {
		if writable(dir) && writable(filepath.Join(dir, "cgroup.procs")) {
			if i == 0 || !hasProcesses(dir) || !h.controls() {
				return dir, ""
			}
			why = "our own cgroup " + dir + " holds processes and so cannot hand on controllers"
		}
		if i >= len(parts) || parts[i] == "." {
			return "", why
		}
		dir = filepath.Join(dir, parts[i])
	}
}

// controls says whether v2 is more than a way to kill here.
func (h *hierarchy) controls() bool {
	return slices.ContainsFunc(h.controllers, func(c string) bool { return slices.Contains(wanted, c) })
}

func hasProcesses(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err != nil || len(strings.TrimSpace(string(data))) > 0
}

func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }
