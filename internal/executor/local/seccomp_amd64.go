package local

import "golang.org/x/sys/unix"

// machineABIs are the instruction sets that a build may use here: its programs
// may be 32-bit ones as well.
func machineABIs() []abi {
	return []abi{
		{
			audit: unix.AUDIT_ARCH_X86_64,
			last:  newest,
			denied: append(generic(),
				unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL,
				unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE, unix.SYS_KEXEC_FILE_LOAD,
			),
			missing: ways(),
			clone:   unix.SYS_CLONE,
			socket:  unix.SYS_SOCKET,
			ioctl:   unix.SYS_IOCTL,
		},
		{
			audit: unix.AUDIT_ARCH_I386,
			last:  newest,
			denied: []uint32{
				21, 22, 52, 217, 428, 429, 430, 431, 432, 433, 442, 467, // mounts
				310, 346, // unshare, setns
				127, 128, 129, 130, 167, 350, // modules
				283,                  // kexec_load
				88, 51, 87, 115, 131, // reboot, acct, swapon, swapoff, quotactl
				25, 79, 264, 404, // stime, settimeofday, clock_settime, clock_settime64
				286, 287, 288, // keys
				357, 336, 374, // bpf, perf_event_open, userfaultfd
				342, 253, // open_by_handle_at, lookup_dcookie
				101, 110, 86, 62, 135, 149, 113, 166, // ioperm, iopl, uselib, ustat, sysfs, _sysctl, vm86
				443, // quotactl_fd
			},
			missing: []uint32{425, 426, 427, 435}, // io_uring, clone3
			clone:   120,
			socket:  359,
			ioctl:   54,
		},
	}
}
