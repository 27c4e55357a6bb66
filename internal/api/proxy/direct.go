package proxy

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// directConn is a TCP connection whose reads and writes do not announce a system call to
// the scheduler. The socket does not block, so that a call ends in microseconds; announced,
// it costs more, and where the machine is busy the scheduler takes the processor from the
// goroutine in the middle of it and wakes another thread, for nothing. It made TLS a tenth
// cheaper (docs/decisions/0006-gateway-speed.md).
//
// One goroutine at a time may read, and one write, as both engines do.
type directConn struct {
	*net.TCPConn
	raw    syscall.RawConn
	reads  transfer
	writes transfer
}

// transfer is one Read or Write in progress.
type transfer struct {
	p    []byte
	n    int
	err  syscall.Errno
	step func(fd uintptr) bool // made once: a closure for each call would be an allocation
}

// direct returns a connection with less to do for each read and write; one that is no TCP
// connection comes back as it is.
func direct(c net.Conn) net.Conn {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return c // closed already; its first use says so
	}
	d := &directConn{TCPConn: tc, raw: raw}
	d.reads.prepare(syscall.SYS_READ, false)
	d.writes.prepare(syscall.SYS_WRITE, true)
	return d
}

func (t *transfer) prepare(call uintptr, whole bool) {
	t.step = func(fd uintptr) bool {
		for {
			n, _, err := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)))
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				return false // wait until the socket is ready
			case err != 0:
				t.err = err
				return true
			}
			t.n += int(n)
			t.p = t.p[n:]
			if !whole || len(t.p) == 0 {
				return true
			}
		}
	}
}

// Read implements io.Reader.
func (d *directConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &d.reads
	t.p, t.n, t.err = p, 0, 0
	err := d.raw.Read(t.step)
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case t.err != 0:
		return 0, os.NewSyscallError("read", t.err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write implements io.Writer.
func (d *directConn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &d.writes
	t.p, t.n, t.err = p, 0, 0
	err := d.raw.Write(t.step)
	t.p = nil
	if err == nil && t.err != 0 {
		err = os.NewSyscallError("write", t.err)
	}
	return t.n, err
}
