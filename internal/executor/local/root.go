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

// Where the pieces of a sandbox's root are while it is made, in a tmpfs that
// covers "root" of the folder.
const (
	skeletonDir = "root/skeleton" // what a root looks like before anything happens in it
	newRoot     = "root/merged"   // the skeleton under an overlay that writes to disk
	hostDir     = "root/host"     // the host's file system under one overlay, made by root
	emptyDir    = "root/empty"    // to hide others with
)

// skeleton is the folders of a sandbox's root, with their modes. They are in
// memory: on disk they would have to be written and removed for every build.
var skeleton = []struct {
	path string
	mode os.FileMode
}{
	{"", 0o755},
	{"/root", 0o711}, // run-as users walk through it to root's toolchains
	{"/tmp", 0o777 | os.ModeSticky},
	{"/proc", 0o555}, {"/sys", 0o555}, {"/dev", 0o755},
	{"/run", 0o755}, {"/run/lock", 0o777 | os.ModeSticky},
	{"/home", 0o755}, {"/mnt", 0o755}, {"/media", 0o755}, {"/srv", 0o755}, {"/boot", 0o755},
	{"/var", 0o755}, {"/var/cache", 0o755}, {"/var/cache/apt", 0o755}, {"/var/cache/debconf", 0o755},
	{"/var/cache/apt/archives", 0o755}, {"/var/cache/apt/archives/partial", 0o700},
	{"/var/lib", 0o755}, {"/var/lib/apt", 0o755}, {"/var/lib/apt/lists", 0o755}, {"/var/lib/apt/lists/partial", 0o700},
	{"/var/lib/ucf", 0o755}, {"/var/lib/misc", 0o755}, {"/var/lib/systemd", 0o755},
	{"/var/local", 0o755}, {"/var/log", 0o755}, {"/var/log/apt", 0o755},
	{"/var/mail", 0o755}, {"/var/opt", 0o755}, {"/var/spool", 0o755}, {"/var/tmp", 0o777 | os.ModeSticky},
	{"/codebuild", 0o755}, {"/codebuild/bin", 0o755}, {"/codebuild/image", 0o755}, {"/codebuild/image/config", 0o755},
	{"/codebuild/run", 0o700}, {"/codebuild/output", 0o755}, {"/codebuild/output/tmp", 0o777 | os.ModeSticky}, {"/codebuild/output/src", 0o755},
}

// buildRoot makes the file system of a sandbox in its folder, which is the
// working directory, and enters it.
func (o *order) buildRoot(r *report) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("take the mounts apart from the host's: %w", err)
	}
	steps := []func(*report) error{o.makeSkeleton, o.bindWork, o.showHost, o.showTools}
	if o.Isolation == Sandboxed { // gVisor has a /dev, /proc and /sys of its own
		steps = append(steps, o.makeDev, o.makeProc, o.makeSys, o.showSockets)
	}
	for _, step := range steps {
		if err := step(r); err != nil {
			return err
		}
	}
	if o.Isolation == GVisor {
		return nil
	}
	return enterRoot(newRoot)
}

// makeSkeleton makes the root as it begins, and the overlay that lets a build
// write everywhere in it.
func (o *order) makeSkeleton(*report) error {
	if err := unix.Mount("tmpfs", "root", "tmpfs", unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("make the sandbox's root: %w", err)
	}
	for _, d := range []string{newRoot, hostDir, emptyDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	for _, d := range skeleton {
		if err := os.Mkdir(skeletonDir+d.path, d.mode); err != nil {
			return err
		}
	}
	links := map[string]string{"/var/run": "/run", "/var/lock": "/run/lock"}
	for _, top := range shown {
		if to, err := os.Readlink("/" + top); err == nil {
			links["/"+top] = to
		}
	}
	for link, to := range links {
		if err := os.Symlink(to, skeletonDir+link); err != nil {
			return err
		}
	}
	for _, l := range o.Layers {
		if err := os.MkdirAll(skeletonDir+l.Path, 0o755); err != nil {
			return err
		}
	}
	for _, t := range append([]string{"sluice", Argv0}, o.Tools...) {
		at := skeletonDir + toolsDir + "/" + t
		if t != "sluice" {
			if err := os.Symlink("sluice", at); err != nil {
				return err
			}
		} else if err := os.WriteFile(at, nil, 0o755); err != nil {
			return err
		}
	}
	return o.overlay(skeletonDir, "root", newRoot)
}

// overlay puts lower behind an overlay with a name.
func (o *order) overlay(lower, name, target string) error {
	upper, work := "upper/"+name, "work/"+name
	if err := os.Mkdir(upper, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	return overlay(lower, upper, work, target)
}

// bindWork gives the source tree and /tmp folders of their own, on disk and not
// behind an overlay, because that is where builds do most of their work.
func (o *order) bindWork(*report) error {
	for from, to := range map[string]string{"src": "/codebuild/output/src", "tmp": "/tmp"} {
		if err := bind(from, newRoot+to, false, 0); err != nil {
			return err
		}
	}
	return nil
}

// showHost puts the host's folders into the root, behind an overlay, so that a
// build may install what it likes and the host never changes.
func (o *order) showHost(r *report) error {
	base := o.HostFD > 0
	if base {
		if err := unix.MoveMount(o.HostFD, "", unix.AT_FDCWD, hostDir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("attach the host's file system: %w", err)
		}
		_ = unix.Close(o.HostFD)
	}
	overlays := 0
	for _, l := range o.Layers {
		var err error
		target := newRoot + l.Path
		if within(l.Path, "/tmp") { // which covers the skeleton's
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
		}
		switch {
		case base && l.Base:
			overlays++
			err = bind(hostDir+l.Path, target, false, 0)
		case l.ReadOnly:
			err = bind(l.Path, target, true, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
		default:
			var own bool
			own, err = o.showLayer(r, l, target)
			if own {
				overlays++
			}
		}
		if err != nil {
			return err
		}
	}
	if overlays > 0 {
		r.Has = append(r.Has, "overlay")
	}
	return nil
}

// showLayer shows one folder behind an overlay of its own, or read-only where
// overlayfs refuses, as it does for a folder with other mounts below it.
func (o *order) showLayer(r *report, l layer, target string) (overlaid bool, err error) {
	upper := "upper/" + l.Name
	if err := prepareUpper(l, upper, o.Ordinary); err != nil {
		return false, fmt.Errorf("prepare %s: %w", l.Path, err)
	}
	err = o.overlay(l.Path, l.Name, target)
	if err == nil {
		return true, nil
	}
	if errors.Is(err, unix.ENOSPC) {
		return false, err
	}
	r.lacks("%s is read-only (%s)", l.Path, reason(err))
	return false, o.showReadOnly(l, target, upper)
}

// prepareUpper makes the folder that an overlay writes to. It has the owner and
// mode of the one below, and covers what a build must not see of it.
func prepareUpper(l layer, upper string, ordinary bool) error {
	if err := mirror(l.Path, upper, ordinary); err != nil {
		return err
	}
	if ordinary {
		if err := ownFolders(l, upper); err != nil {
			return err
		}
	}
	if l.Path == "/etc" {
		return coverEtc(upper)
	}
	return nil
}

// mirror makes a folder like another, or with the same mode but ours.
func mirror(like, dir string, ours bool) error {
	var st unix.Stat_t
	if err := unix.Stat(like, &st); err != nil {
		return &os.PathError{Op: "stat", Path: like, Err: err}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if !ours {
		if err := os.Chown(dir, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: dir, Err: err}
	}
	return nil
}

// ownFolders gives an ordinary user, who is root in the sandbox but owns nothing
// of the host, those folders that installers write to: a folder that is in the
// upper as well has the upper's owner.
func ownFolders(l layer, upper string) error {
	if l.Path != "/usr" {
		return nil
	}
	dirs := []string{"bin", "lib", "lib/node_modules", "local", "local/bin", "local/sbin", "local/lib", "local/share",
		"local/share/man", "local/include", "local/etc", "local/lib/node_modules"}
	found, _ := filepath.Glob("/usr/local/lib/python3*/dist-packages")
	for _, p := range found {
		d := strings.TrimPrefix(p, "/usr/")
		dirs = append(dirs, filepath.Dir(d), d)
	}
	for _, d := range dirs {
		fi, err := os.Lstat(filepath.Join(l.Path, d))
		if err != nil || !fi.IsDir() {
			continue
		}
		if err := mirror(filepath.Join(l.Path, d), filepath.Join(upper, d), true); err != nil {
			return err
		}
	}
	return nil
}

// showReadOnly shows a folder as it is, with what its upper would have covered
// or replaced laid over it.
func (o *order) showReadOnly(l layer, target, upper string) error {
	if err := bind(l.Path, target, true, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV); err != nil {
		return err
	}
	if l.Path != "/etc" {
		return nil
	}
	return filepath.WalkDir(upper, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		at := filepath.Join(target, strings.TrimPrefix(p, upper))
		fi, err := os.Lstat(at)
		switch {
		case err != nil || fi.Mode()&os.ModeSymlink != 0:
			return nil //nolint:nilerr // what is not there needs no cover
		case d.Type().IsRegular():
			return bind(p, at, false, unix.MOUNT_ATTR_RDONLY)
		case fi.IsDir():
			return bind(emptyDir, at, false, unix.MOUNT_ATTR_RDONLY)
		}
		return bind("/dev/null", at, false, 0)
	})
}

// showTools puts the sluice binary at its place.
func (o *order) showTools(*report) error {
	return bind(o.Exe, newRoot+toolsDir+"/sluice", false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
}

// showSockets gives a privileged build the Docker engine's socket.
func (o *order) showSockets(*report) error {
	const socket = "/run/docker.sock"
	if _, err := os.Stat(socket); err != nil || !o.Privileged {
		return nil //nolint:nilerr // there is no engine
	}
	if err := os.WriteFile(newRoot+socket, nil, 0o600); err != nil {
		return err
	}
	return bind(socket, newRoot+socket, false, 0)
}
