package local

import "golang.org/x/sys/unix"

// machineABIs are the instruction sets that a build may use here. 32-bit ARM
// programs are answered ENOSYS.
func machineABIs() []abi {
	return []abi{{
		audit:   unix.AUDIT_ARCH_AARCH64,
		last:    newest,
		denied:  append(generic(), unix.SYS_KEXEC_FILE_LOAD),
		missing: ways(),
		clone:   unix.SYS_CLONE,
		socket:  unix.SYS_SOCKET,
		ioctl:   unix.SYS_IOCTL,
	}}
}
