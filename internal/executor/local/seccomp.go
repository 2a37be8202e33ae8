package local

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16 // low half, on little-endian machines
	offsetArg1   = 24
)

// newNamespaces are the clone flags that make namespaces.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

// abi is the system calls of one instruction set.
type abi struct {
	audit uint32 // AUDIT_ARCH_*
	// last is the newest system call that this filter knows. What came later is
	// answered with ENOSYS, as by a kernel that lacks it, because nobody has
	// looked yet whether a build may have it.
	last uint32

	denied  []uint32 // EPERM
	missing []uint32 // ENOSYS: programs have another way to do it
	clone   uint32
	socket  uint32
	ioctl   uint32
}

// filter compiles the rules: everything is allowed but what makes or enters
// namespaces, mounts, changes the kernel or the clock, or reaches past the
// sandbox in ways that namespaces do not cover (keys, BPF, io_uring, vsock).
func filter(abis []abi) ([]bpf.Instruction, error) {
	var prog []bpf.Instruction
	prog = append(prog, bpf.LoadAbsolute{Off: offsetArch, Size: 4})
	for _, a := range abis {
		rules := a.rules()
		// Past this set's rules when it is not the caller's.
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: a.audit, SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(rules))},
		)
		prog = append(prog, rules...)
	}
	return append(prog, answer(unix.ENOSYS)), nil // an instruction set that no rule speaks of
}

func answer(errno unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

func (a abi) rules() []bpf.Instruction {
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	out := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
		// Also catches x32 on amd64, whose numbers have bit 30 set.
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: a.last, SkipFalse: 1},
		answer(unix.ENOSYS),
	}
	on := func(nr uint32, then ...bpf.Instruction) {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: uint8(len(then))})
		out = append(out, then...)
	}
	for _, nr := range a.denied {
		on(nr, answer(unix.EPERM))
	}
	for _, nr := range a.missing {
		on(nr, answer(unix.ENOSYS))
	}
	on(a.clone,
		bpf.LoadAbsolute{Off: offsetArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipFalse: 1},
		answer(unix.EPERM),
		allow,
	)
	on(a.socket,
		bpf.LoadAbsolute{Off: offsetArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_VSOCK, SkipFalse: 1},
		answer(unix.EAFNOSUPPORT),
		allow,
	)
	on(a.ioctl,
		bpf.LoadAbsolute{Off: offsetArg1, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCLINUX, SkipFalse: 1},
		answer(unix.EPERM),
		allow,
	)
	return append(out, allow)
}

// installFilter puts the filter on every thread of this process and all it starts.
func installFilter() error {
	abis := machineABIs()
	if len(abis) == 0 {
		return fmt.Errorf("no seccomp rules for %s: %w", runtime.GOARCH, unix.ENOTSUP)
	}
	prog, err := filter(abis)
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return fmt.Errorf("assemble the seccomp filter: %w", err)
	}
	insns := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		insns[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(insns)), Filter: &insns[0]}
	// All threads at once, by the kernel. It answers the thread that would not follow.
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(insns)
	if errno != 0 {
		return fmt.Errorf("install the seccomp filter: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("install the seccomp filter: thread %d did not take it: %w", thread, unix.EBUSY)
	}
	return nil
}
