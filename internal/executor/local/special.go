package local

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// makeDev fills /dev with what every program may expect and nothing else.
func (o *order) makeDev(*report) error {
	if err := unix.Mount("tmpfs", newRoot+"/dev", "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("make /dev: %w", err)
	}
	devices := []string{"null", "zero", "full", "random", "urandom", "tty"}
	if o.Privileged {
		devices = append(devices, "fuse", "kvm")
	}
	for _, d := range devices {
		if _, err := os.Stat("/dev/" + d); err != nil {
			continue
		}
		file, err := os.OpenFile(newRoot+"/dev/"+d, os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		_ = file.Close()
		if err := bind("/dev/"+d, newRoot+"/dev/"+d, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(to, newRoot+"/dev/"+link); err != nil {
			return err
		}
	}
	if err := os.Mkdir(newRoot+"/dev/shm", 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := os.Mkdir(newRoot+"/dev/pts", 0o755); err != nil {
		return err
	}
	opts := "newinstance,ptmxmode=0666,mode=0620"
	if !o.Single {
		opts += ",gid=5" // tty, on every distribution
	}
	if err := unix.Mount("devpts", newRoot+"/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, opts); err != nil {
		return fmt.Errorf("make /dev/pts: %w", err)
	}
	return nil
}

// What of /proc and /sys a build must not change, and what it must not see. As
// root's build it is the host's root to these files, capabilities or not.
var (
	procReadOnly = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	procHidden   = []string{"kcore", "keys", "key-users", "timer_list", "sched_debug", "latency_stats", "kmsg", "kpagecgroup", "kpagecount", "kpageflags",
		"mtrr", "acpi", "asound", "scsi", "driver"}
	sysHidden = []string{"firmware", "kernel/debug", "kernel/tracing", "kernel/security", "fs/bpf", "fs/pstore", "devices/virtual/powercap"}
)

func (o *order) makeProc(*report) error {
	err := unix.Mount("proc", newRoot+"/proc", "proc", quiet, "")
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc: %w: this machine covers parts of its own /proc, as containers do; "+
			"run it with them uncovered (docker run --security-opt systempaths=unconfined), or use isolation %s", err, Plain)
	}
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if o.Privileged {
		return nil
	}
	for _, p := range procReadOnly {
		if err := bindIfThere(newRoot+"/proc/"+p, newRoot+"/proc/"+p, false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	return o.hide(newRoot+"/proc/", procHidden)
}

func (o *order) makeSys(*report) error {
	err := bind("/sys", newRoot+"/sys", true, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	return o.hide(newRoot+"/sys/", sysHidden)
}

// hide covers what is there: folders by an empty one, files by /dev/null.
func (o *order) hide(base string, names []string) error {
	for _, n := range names {
		fi, err := os.Lstat(base + n)
		if err != nil {
			continue
		}
		source := "/dev/null"
		if fi.IsDir() {
			source = emptyDir
		}
		if err := bind(source, base+n, false, unix.MOUNT_ATTR_RDONLY); err != nil {
			return err
		}
	}
	return nil
}
