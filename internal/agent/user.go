package agent

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// account is who a command runs as.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32
	self     bool // the agent's own user: nothing to change
}

// findAccount resolves "name" or "uid[:gid]" by the sandbox's own /etc/passwd
// and /etc/group. An unknown number is taken as it is, with group 0 as container
// engines do; an unknown name does not exist.
func findAccount(user string) (account, error) {
	me := account{name: "root", uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), self: true}
	if user == "" {
		return me, nil
	}
	name, group, hasGroup := strings.Cut(user, ":")
	acc := account{name: name}
	id, numErr := strconv.ParseUint(name, 10, 31)
	known := false
	for f := range colonFile("/etc/passwd", 4) {
		if f[0] == name || numErr == nil && f[2] == name {
			uid, err := strconv.ParseUint(f[2], 10, 32)
			gid, err2 := strconv.ParseUint(f[3], 10, 32)
			if err != nil || err2 != nil {
				continue
			}
			acc.name, acc.uid, acc.gid, known = f[0], uint32(uid), uint32(gid), true
			break
		}
	}
	switch {
	case !known && numErr != nil:
		return acc, fmt.Errorf("user %q does not exist in the sandbox: add it to the image or correct run-as: %w", user, syscall.ENOENT)
	case !known:
		acc.uid = uint32(id)
	}
	if hasGroup {
		gid, err := strconv.ParseUint(group, 10, 31)
		if err != nil {
			return acc, fmt.Errorf("user %q: the group must be a number: %w", user, syscall.EINVAL)
		}
		acc.gid = uint32(gid)
	}
	for f := range colonFile("/etc/group", 4) {
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && lists(f[3], acc.name) && known {
			acc.groups = append(acc.groups, uint32(gid))
		}
	}
	if acc.uid == me.uid && (acc.gid == me.gid || !hasGroup) {
		return me, nil
	}
	if me.uid != 0 {
		return acc, fmt.Errorf("cannot run as user %q: the sandbox itself runs as uid %d and may not become another; remove run-as or use an executor that runs as root: %w", user, me.uid, syscall.EPERM)
	}
	return acc, nil
}

func lists(members, name string) bool {
	for m := range strings.SplitSeq(members, ",") {
		if m == name {
			return true
		}
	}
	return false
}

// colonFile goes over the lines of a file that have at least n fields.
func colonFile(path string, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		f, err := os.Open(path)
		if err != nil {
			return // an image without the file has no named users
		}
		defer func() { _ = f.Close() }()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if fields := strings.Split(lines.Text(), ":"); len(fields) >= n && !yield(fields) {
				return
			}
		}
	}
}

// credential is nil for the agent's own user.
func (a account) credential() *syscall.Credential {
	if a.self {
		return nil
	}
	c := &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
	if b, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(b)) == "deny" {
		c.NoSetGroups = true // a user namespace that an ordinary user made
	}
	return c
}
