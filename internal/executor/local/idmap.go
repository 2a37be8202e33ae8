package local

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ci/sluice/internal/ci"
)

// idRange is one line of a uid_map or gid_map.
type idRange struct {
	Inside  int `json:"in"`
	Outside int `json:"out"`
	Size    int `json:"size"`
}

// idMaps says which users and groups exist in a sandbox, and who they are outside.
type idMaps struct {
	Users  []idRange `json:"users"`
	Groups []idRange `json:"groups"`
	// Helpers: newuidmap and newgidmap must write the maps, since the ranges are
	// lent to this user by /etc/subuid and are not his own.
	Helpers bool `json:"helpers,omitempty"`
}

// single says that the sandbox knows one user only.
func (m *idMaps) single() bool { return len(m.Users) == 1 && m.Users[0].Size == 1 }

// chooseMaps decides on the maps. Root maps everybody to himself, so that the
// host's files keep their owners; anybody else becomes root in the sandbox, and
// has other users besides when the machine lends him some.
func chooseMaps() (*idMaps, error) {
	if os.Geteuid() == 0 {
		users, err := identity("/proc/self/uid_map")
		if err != nil {
			return nil, err
		}
		groups, err := identity("/proc/self/gid_map")
		if err != nil {
			return nil, err
		}
		return &idMaps{Users: users, Groups: groups}, nil
	}
	m := &idMaps{
		Users:  []idRange{{Outside: os.Geteuid(), Size: 1}},
		Groups: []idRange{{Outside: os.Getegid(), Size: 1}},
	}
	users, groups := subordinate("/etc/subuid"), subordinate("/etc/subgid")
	if users.Size == 0 || groups.Size == 0 {
		return m, nil
	}
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(helper); err != nil {
			return m, nil //nolint:nilerr // without the helpers there is one user, which Placed says
		}
	}
	m.Users, m.Groups, m.Helpers = append(m.Users, users), append(m.Groups, groups), true
	return m, nil
}

// identity maps all that exists here to itself.
func identity(path string) ([]idRange, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read our user map: %w", err)
	}
	out, err := parseMap(data)
	if err != nil {
		return nil, fmt.Errorf("read our user map %s: %w", path, err)
	}
	for i := range out {
		out[i].Outside = out[i].Inside
	}
	return out, nil
}

func parseMap(data []byte) ([]idRange, error) {
	var out []idRange
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 3 {
			return nil, fmt.Errorf("line %q: want three numbers: %w", line, ci.ErrInvalid)
		}
		var n [3]int
		for i := range n {
			v, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w: %w", line, err, ci.ErrInvalid)
			}
			n[i] = int(v)
		}
		out = append(out, idRange{Inside: n[0], Outside: n[1], Size: n[2]})
	}
	return out, nil
}

// subordinate is the first range that /etc/subuid or /etc/subgid lends this user.
func subordinate(path string) idRange {
	file, err := os.Open(path)
	if err != nil {
		return idRange{}
	}
	defer func() { _ = file.Close() }()
	uid := strconv.Itoa(os.Geteuid())
	name := os.Getenv("USER")
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) != 3 || (f[0] != name && f[0] != uid) {
			continue
		}
		start, err1 := strconv.ParseUint(f[1], 10, 31)
		size, err2 := strconv.ParseUint(f[2], 10, 31)
		if err1 == nil && err2 == nil && size > 0 {
			return idRange{Inside: 1, Outside: int(start), Size: int(size)}
		}
	}
	return idRange{}
}

// apply puts the maps into the attributes of a process to be made, unless the
// helpers must write them once it is there.
func (m *idMaps) apply(attr *syscall.SysProcAttr) {
	if m.Helpers {
		// It execs before it is anybody: without these it would lose the
		// capabilities over its own namespace there and then.
		for c := range uintptr(lastCapability + 1) {
			attr.AmbientCaps = append(attr.AmbientCaps, c)
		}
		return
	}
	for _, r := range m.Users {
		attr.UidMappings = append(attr.UidMappings, syscall.SysProcIDMap{ContainerID: r.Inside, HostID: r.Outside, Size: r.Size})
	}
	for _, r := range m.Groups {
		attr.GidMappings = append(attr.GidMappings, syscall.SysProcIDMap{ContainerID: r.Inside, HostID: r.Outside, Size: r.Size})
	}
	attr.GidMappingsEnableSetgroups = os.Geteuid() == 0
}

// write has the helpers write the maps of a process that waits for them.
func (m *idMaps) write(ctx context.Context, pid int) error {
	if !m.Helpers {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for helper, ranges := range map[string][]idRange{"newuidmap": m.Users, "newgidmap": m.Groups} {
		args := []string{strconv.Itoa(pid)}
		for _, r := range ranges {
			args = append(args, strconv.Itoa(r.Inside), strconv.Itoa(r.Outside), strconv.Itoa(r.Size))
		}
		g.Go(func() error {
			if out, err := exec.CommandContext(ctx, helper, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s for the sandbox: %w: %s (is the range in /etc/subuid and /etc/subgid right?)", helper, err, bytes.TrimSpace(out))
			}
			return nil
		})
	}
	return g.Wait()
}
