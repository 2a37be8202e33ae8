package local

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// quiet are the flags of a mount in which nothing should ever be run or be a device.
const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// bind shows source at target, as a mount with the attributes set.
func bind(source, target string, recursive bool, attrs uint64) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_NO_AUTOMOUNT)
	at := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
		at |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil {
		return &os.PathError{Op: "bind", Path: source, Err: err}
	}
	defer func() { _ = unix.Close(tree) }()
	if attrs != 0 {
		if err := unix.MountSetattr(tree, "", at, &unix.MountAttr{Attr_set: attrs}); err != nil {
			return &os.PathError{Op: "protect", Path: source, Err: err}
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "bind", Path: target, Err: err}
	}
	return nil
}

// bindIfThere is bind of something that not every machine has.
func bindIfThere(source, target string, recursive bool, attrs uint64) error {
	err := bind(source, target, recursive, attrs)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// overlay shows lower at target, with all changes going to upper. Paths of upper
// and work are relative to the working directory, so that only lower, a folder of
// the host, may hold what overlayfs takes for a separator.
func overlay(lower, upper, work, target string) error {
	if strings.ContainsAny(lower, `\,:"`) {
		return fmt.Errorf("overlay on %s: a name that overlayfs cannot take: %w", lower, unix.EINVAL)
	}
	opts := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work + ",userxattr,volatile"
	if err := unix.Mount("overlay", target, "overlay", 0, opts); err != nil {
		return fmt.Errorf("overlay on %s: %w", lower, err)
	}
	return nil
}

// enterRoot makes the folder the root of all processes in this mount namespace,
// and lets go of the old one. The folder must be a mount.
func enterRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	// The old root lands on top of the new one, and is unmounted from there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", dir, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	return nil
}
