//go:build cgo && linux

package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// Available reports whether this build can run queries.
const Available = true

// socketFD is where the parent puts the worker's end of the socket.
const socketFD = 3

// Main runs the worker over the socket at descriptor 3 until the node closes it, and
// returns the process's exit code. The last argument holds the limits as JSON.
func Main() int {
	if err := run(); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "sql worker:", err)
		return 1
	}
	return 0
}

func run() error {
	limits, err := readLimits(os.Args)
	if err != nil {
		return err
	}
	file := os.NewFile(socketFD, "node")
	raw, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return fmt.Errorf("descriptor %d is not the node's socket: %w", socketFD, err)
	}
	socket, ok := raw.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("descriptor %d is not a Unix socket", socketFD)
	}
	box, err := confine(limits)
	if err != nil {
		return err
	}
	s := &session{conn: wire.NewConn(socket), limits: limits, box: box}
	return s.serve()
}

// serve answers the node's frames one after the other. A goroutine of its own reads
// them, so that a cancellation is seen while the engine works.
func (s *session) serve() error {
	if err := s.reset(); err != nil {
		return err
	}
	frames := make(chan wire.Frame, 8) // what the node may send ahead; beyond it the socket blocks
	failed := make(chan error, 1)
	go func() {
		for {
			f, err := s.conn.Read()
			switch {
			case err != nil:
				if s.busy.Load() {
					// The node is gone, and a query that runs has nobody to answer.
					unix.Exit(0)
				}
				failed <- err
				return
			case f.Kind == wire.FrameCancel:
				s.interrupt()
			default:
				f.Payload = append([]byte(nil), f.Payload...)
				frames <- f
			}
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		case f := <-frames:
			s.busy.Store(true)
			if err := s.handle(f); err != nil {
				return err
			}
			s.busy.Store(false)
		}
	}
}
