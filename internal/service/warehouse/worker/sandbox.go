//go:build cgo && linux

package worker

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sandbox is what confine achieved.
type sandbox struct {
	directory string   // prefix under which descriptors are opened
	skipped   []string // what this machine does not permit
}

// confine gives up what the process does not need, in the order in which one step does
// not take the means from the next. Limits that any process may set on itself are
// required; what needs privilege is tried and its absence noted.
func confine(l Limits) (sandbox, error) {
	box := sandbox{directory: "/proc/self/fd/"}
	os.Clearenv()
	for _, r := range []struct {
		resource int
		limit    uint64
	}{
		{unix.RLIMIT_CORE, 0},  // a dump would be clear data on disk
		{unix.RLIMIT_FSIZE, 0}, // it writes to pipes and sockets only
		{unix.RLIMIT_NOFILE, uint64(l.Files)},
		{unix.RLIMIT_DATA, l.hardMemory()},
	} {
		if err := unix.Setrlimit(r.resource, &unix.Rlimit{Cur: r.limit, Max: r.limit}); err != nil {
			return box, fmt.Errorf("limit the worker's resources: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return box, fmt.Errorf("bind the worker to its parent: %w", err)
	}
	// Out of memory, the kernel should end a query and not the node. Needs /proc, so first.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		box.skipped = append(box.skipped, "oom score")
	}
	// The engine opens descriptors by path. With the list of its own descriptors as the
	// root directory there is no other file to open.
	if err := unix.Chroot("/proc/self/fd"); err == nil {
		box.directory = "/"
		if err := unix.Chdir("/"); err != nil {
			return box, err
		}
	} else {
		box.skipped = append(box.skipped, "root directory")
	}
	if os.Getuid() == 0 && l.UID > 0 {
		if err := becomes(l.UID); err != nil {
			return box, fmt.Errorf("become user %d: %w", l.UID, err)
		}
	}
	if err := filterSystemCalls(); err != nil {
		box.skipped = append(box.skipped, "system call filter")
	}
	return box, nil
}

// becomes changes all threads to an unprivileged user, which drops every capability.
func becomes(uid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(uid); err != nil {
		return err
	}
	if err := syscall.Setuid(uid); err != nil {
		return err
	}
	// The change of user made /proc/self/fd root's; the engine must still open it. Another
	// worker under the same user cannot reach it: each has a process namespace of its own.
	return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
}
