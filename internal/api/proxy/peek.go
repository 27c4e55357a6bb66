package proxy

import (
	"syscall"
	"unsafe"
)

// What a look at a socket finds.
type peeked int

const (
	peekQuiet peeked = iota // open, and nothing to read
	peekBytes               // something to read
	peekGone                // the peer has closed it, or it broke
)

// peek looks what a read of the socket would find, without reading or waiting.
func peek(fd uintptr) peeked {
	var b [1]byte
	n, _, err := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return peekQuiet
	case err == 0 && n > 0:
		return peekBytes
	}
	return peekGone
}
