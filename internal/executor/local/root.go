package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// report is what the first process of a sandbox answers.
type report struct {
	Error string   `json:"error,omitempty"`
	Full  bool     `json:"full,omitempty"`  // the error is a full disk
	Has   []string `json:"has,omitempty"`   // for Placed
	Lacks []string `json:"lacks,omitempty"` // what could not be had, and why
}

func (r *report) lacks(format string, args ...any) {
	r.Lacks = append(r.Lacks, fmt.Sprintf(format, args...))
}

// skeleton is the folders of a sandbox's root, with their modes.
var skeleton = []struct {
	path string
	mode os.FileMode
}{
	{"root", 0o755},
	{"root/root", 0o711}, // run-as users walk through it to root's toolchains
	{"root/tmp", 0o777 | os.ModeSticky},
	{"root/proc", 0o555}, {"root/sys", 0o555}, {"root/dev", 0o755},
	{"root/run", 0o755}, {"root/run/lock", 0o777 | os.ModeSticky},
	{"root/home", 0o755}, {"root/mnt", 0o755}, {"root/media", 0o755}, {"root/srv", 0o755}, {"root/boot", 0o755},
	{"root/var", 0o755}, {"root/var/cache", 0o755}, {"root/var/cache/apt", 0o755}, {"root/var/cache/debconf", 0o755},
	{"root/var/cache/apt/archives", 0o755}, {"root/var/cache/apt/archives/partial", 0o700},
	{"root/var/lib", 0o755}, {"root/var/local", 0o755}, {"root/var/log", 0o755}, {"root/var/log/apt", 0o755},
	{"root/var/mail", 0o755}, {"root/var/opt", 0o755}, {"root/var/spool", 0o755}, {"root/var/tmp", 0o777 | os.ModeSticky},
	{"root/codebuild", 0o755}, {"root/codebuild/bin", 0o755}, {"root/codebuild/image", 0o755}, {"root/codebuild/image/config", 0o755},
	{"root/codebuild/output", 0o755}, {"root/codebuild/output/tmp", 0o777 | os.ModeSticky},
	{"root/codebuild/output/src", 0o755}, {"root/codebuild/output/src/src", 0o755},
	{"upper", 0o755}, {"work", 0o755}, {"empty", 0o555},
}

// buildRoot makes the file system of a sandbox in its folder, which is the
// working directory, and enters it.
func (o *order) buildRoot(r *report) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("take the mounts apart from the host's: %w", err)
	}
	for _, d := range skeleton {
		if err := os.Mkdir(d.path, d.mode); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{"root/var/run": "/run", "root/var/lock": "/run/lock"} {
		if err := os.Symlink(to, link); err != nil {
			return err
		}
	}
	if err := unix.Mount("root", "root", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("make the sandbox's root a mount: %w", err)
	}
	if err := o.showHost(r); err != nil {
		return err
	}
	for _, step := range []func() error{o.showTools, o.makeDev, o.makeProc, o.makeSys, o.showSockets} {
		if err := step(); err != nil {
			return err
		}
	}
	return enterRoot("root")
}

// showHost puts the host's folders into the root, each behind an overlay, so
// that a build may install what it likes and the host never changes.
func (o *order) showHost(r *report) error {
	for _, top := range shown {
		if to, err := os.Readlink("/" + top); err == nil {
			if err := os.Symlink(to, "root/"+top); err != nil {
				return err
			}
		}
	}
	overlays := 0
	for _, l := range o.Layers {
		target := "root" + l.Path
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		upper, work := "upper/"+l.Name, "work/"+l.Name
		if err := o.prepareUpper(l, upper); err != nil {
			return fmt.Errorf("prepare %s: %w", l.Path, err)
		}
		if err := os.Mkdir(work, 0o700); err != nil {
			return err
		}
		err := overlay(l.Path, upper, work, target)
		if err == nil {
			overlays++
			continue
		}
		if errors.Is(err, unix.ENOSPC) {
			return err
		}
		r.lacks("%s is read-only (%s)", l.Path, reason(err))
		if err := o.showReadOnly(l, target, upper); err != nil {
			return err
		}
	}
	if overlays > 0 {
		r.Has = append(r.Has, "overlay")
	}
	return nil
}

// prepareUpper makes the folder that an overlay writes to. It has the owner and
// mode of the one below, and covers what a build must not see of it.
func (o *order) prepareUpper(l layer, upper string) error {
	fi, err := os.Stat(l.Path)
	if err != nil {
		return err
	}
	if err := os.Mkdir(upper, fi.Mode().Perm()); err != nil {
		return err
	}
	if !o.Single {
		if st, ok := fi.Sys().(*unix.Stat_t); ok {
			_ = os.Lchown(upper, int(st.Uid), int(st.Gid))
		}
	} else if err := ownFolders(l, upper); err != nil {
		return err
	}
	if l.Path == "/etc" {
		return o.coverEtc(upper)
	}
	return nil
}

// ownFolders gives an ordinary user, who is root in the sandbox but owns nothing
// of the host, those folders that installers write to: a folder that is in the
// upper as well has the upper's owner.
func ownFolders(l layer, upper string) error {
	var dirs []string
	switch l.Path {
	case "/usr":
		dirs = []string{"bin", "lib", "share", "include", "local", "local/bin", "local/sbin", "local/lib", "local/share",
			"local/share/man", "local/share/man/man1", "local/include", "local/etc", "local/src", "lib/node_modules", "local/lib/node_modules"}
		found, _ := filepath.Glob("/usr/local/lib/python3*/dist-packages")
		for _, p := range found {
			d := strings.TrimPrefix(p, "/usr/")
			dirs = append(dirs, filepath.Dir(d), d)
		}
	default:
		return nil
	}
	for _, d := range dirs {
		fi, err := os.Lstat(filepath.Join(l.Path, d))
		if err != nil || !fi.IsDir() {
			continue
		}
		if err := os.Mkdir(filepath.Join(upper, d), fi.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// showReadOnly is for a folder that overlayfs refuses, such as one with other
// mounts below it.
func (o *order) showReadOnly(l layer, target, upper string) error {
	if err := bind(l.Path, target, true, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV); err != nil {
		return err
	}
	if l.Path != "/etc" {
		return nil
	}
	// What the upper would have covered or replaced is laid over, one by one.
	return filepath.WalkDir(upper, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		at := filepath.Join(target, strings.TrimPrefix(p, upper))
		fi, err := os.Lstat(at)
		switch {
		case err != nil || fi.Mode()&os.ModeSymlink != 0:
			return nil
		case d.Type().IsRegular():
			return bind(p, at, false, unix.MOUNT_ATTR_RDONLY)
		case fi.IsDir():
			return bind("empty", at, false, unix.MOUNT_ATTR_RDONLY)
		}
		return bind("/dev/null", at, false, 0)
	})
}

// showTools puts the sluice binary at its place, with a link for each tool.
func (o *order) showTools() error {
	exe := "root" + toolsDir + "/sluice"
	file, err := os.OpenFile(exe, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_ = file.Close()
	if err := bind(o.Exe, exe, false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV); err != nil {
		return err
	}
	for _, t := range o.Tools {
		if err := os.Symlink("sluice", "root"+toolsDir+"/"+t); err != nil {
			return err
		}
	}
	return nil
}

// showSockets gives a privileged build the Docker engine's socket.
func (o *order) showSockets() error {
	if !o.Privileged {
		return nil
	}
	const socket = "/run/docker.sock"
	if _, err := os.Stat(socket); err != nil {
		return nil //nolint:nilerr // there is no engine
	}
	file, err := os.OpenFile("root"+socket, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_ = file.Close()
	return bind(socket, "root"+socket, false, 0)
}
