//go:build amd64 || arm64

package local

import "golang.org/x/sys/unix"

// newest is file_setattr of Linux 6.17; numbers above 424 are the same everywhere.
const newest = 469

// generic are the system calls that no build may make, where both instruction
// sets have them.
func generic() []uint32 {
	return []uint32{
		// Mounts and roots.
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_OPEN_TREE_ATTR,
		// Namespaces.
		unix.SYS_UNSHARE, unix.SYS_SETNS,
		// The kernel itself.
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD,
		unix.SYS_REBOOT, unix.SYS_ACCT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_SYSLOG,
		// The clock.
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME,
		// Keys belong to users and not to namespaces.
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
		// Files by handle, past the root.
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_NFSSERVCTL, unix.SYS_VHANGUP,
	}
}

// ways are the system calls that are said to be missing. clone3 has its flags in
// memory, where no filter sees them; C libraries then use clone. io_uring does
// what it is asked past every filter.
func ways() []uint32 {
	return []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}
}
