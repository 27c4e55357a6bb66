package proxy

import (
	"errors"
	"syscall"
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
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case n > 0:
		return peekBytes
	case n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR)):
		return peekQuiet
	}
	return peekGone
}
