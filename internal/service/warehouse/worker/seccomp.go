//go:build cgo && linux

package worker

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refused lists the system calls a query never needs and an intruder would. The list
// refuses rather than permits, because the Go and C++ runtimes' needs change with their
// versions; files and the network are closed off by other means already.
var refused = []uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD,
	unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT,
	unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETRESUID, unix.SYS_PERSONALITY,
}

// filterSystemCalls makes the refused calls fail with EPERM in every thread.
func filterSystemCalls() error {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpEq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jumpGe  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K
		allow   = 0x7fff0000
		eperm   = 0x00050000 | uint32(unix.EPERM)
		kill    = 0x80000000
		offNr   = 0
		offArch = 4
		x32     = 0x40000000 // calls of the 32-bit-pointer ABI share the architecture number
	)
	program := []unix.SockFilter{
		{Code: load, K: offArch},
		{Code: jumpEq, K: auditArch, Jt: 1},
		{Code: ret, K: kill},
		{Code: load, K: offNr},
		{Code: jumpGe, K: x32, Jf: 1},
		{Code: ret, K: kill},
	}
	for _, nr := range refused {
		program = append(program,
			unix.SockFilter{Code: jumpEq, K: nr, Jf: 1},
			unix.SockFilter{Code: ret, K: eperm})
	}
	program = append(program, unix.SockFilter{Code: ret, K: allow})

	runtime.LockOSThread() // both calls must be made by one thread
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const setModeFilter, threadSync = 1, 1
	if r, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, threadSync, uintptr(unsafe.Pointer(&fprog))); errno != 0 {
		return errno
	} else if r != 0 {
		return unix.ESRCH // a thread that could not follow
	}
	return nil
}
