package local

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hostView makes one overlay of the host's whole file system, without what is
// mounted in it, for the sandbox to show parts of. Only root outside of the
// sandbox can: a user namespace refuses a lower folder that has mounts on it. One
// mount instead of a dozen is worth it, because each costs an RCU grace period to
// remove. The answer is a detached mount; nil, where the machine refuses, leaves
// an overlay for each folder to the sandbox itself.
func (e *Executor) hostView(f folder, layers []layer) (*os.File, error) {
	if os.Geteuid() != 0 || e.separate {
		return nil, nil
	}
	upper, work := f.path("upper", "host"), f.path("work", "host")
	if err := mirror("/", upper, false); err != nil {
		return nil, err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	for _, l := range layers {
		if l.Base && l.Path == "/etc" {
			if err := prepareUpper(l, upper+"/etc", false); err != nil {
				return nil, err
			}
		}
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, nil //nolint:nilerr // not permitted here, as in a container
	}
	defer func() { _ = unix.Close(fs) }()
	for _, kv := range [][2]string{{"lowerdir", "/"}, {"upperdir", upper}, {"workdir", work}} {
		if err := unix.FsconfigSetString(fs, kv[0], kv[1]); err != nil {
			return nil, nil //nolint:nilerr // as above
		}
	}
	// A build needs no disk syncs for what ends with it, and removing an overlay
	// that is not volatile syncs the whole disk.
	if err := unix.FsconfigSetFlag(fs, "volatile"); err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	return os.NewFile(uintptr(mnt), "host"), nil
}

// onRootMount says whether a folder is part of the mount that "/" is.
func onRootMount(path string) bool {
	var root, at unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, "/", unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &root) != nil ||
		unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &at) != nil {
		return false
	}
	return root.Mask&at.Mask&unix.STATX_MNT_ID != 0 && root.Mnt_id == at.Mnt_id
}

// prepareFolder makes what a sandbox's folder needs on disk.
func (f folder) prepareFolder() error {
	for dir, mode := range map[string]os.FileMode{"root": 0o700, "upper": 0o700, "work": 0o700, runSource: 0o700, "src": 0o755, "tmp": 0o777 | os.ModeSticky} {
		if err := os.Mkdir(f.path(dir), 0o700); err != nil {
			return fmt.Errorf("make the sandbox's folder: %w", err)
		}
		if err := os.Chmod(f.path(dir), mode); err != nil {
			return fmt.Errorf("make the sandbox's folder: %w", err)
		}
	}
	return nil
}
