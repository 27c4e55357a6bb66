package webserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/api/webserver"
)

// remote is a listener whose connections say where they come from.
type remote struct {
	conns chan net.Conn
	done  chan struct{}
}

func (r *remote) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}
func (r *remote) Close() error   { close(r.done); return nil }
func (r *remote) Addr() net.Addr { return &net.TCPAddr{} }

type from struct {
	net.Conn
	ip string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.ip), Port: 1} }

// bench serves HTTP over pipes with a bound on connections.
type bench struct {
	t  *testing.T
	in *remote
	ln *webserver.Listener
}

// start serves until the function that it returns is called. A request for /slow is answered when release closes.
func start(t *testing.T, l webserver.Limits, release chan struct{}) (*bench, func()) {
	b := &bench{t: t, in: &remote{make(chan net.Conn), make(chan struct{})}}
	b.ln = webserver.Listen(b.in, l)
	srv := &http.Server{ConnState: b.ln.Idle, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		fmt.Fprint(w, "hello")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(b.ln) }() // it ends with the test
	return b, func() { _ = srv.Close(); <-done }
}

// dial connects from an address.
func (b *bench) dial(ip string) net.Conn {
	client, server := net.Pipe()
	b.in.conns <- from{server, ip}
	return client
}

// get asks for a path; false where the connection is closed.
func (b *bench) get(c net.Conn, path string) bool {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return false
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b, stop := start(t, webserver.Limits{Connections: 4, Reserve: 1, Name: "test"}, release)
		defer stop()
		// Three that work take the places of clients elsewhere; a fourth is refused, one of this machine is not.
		var busy []net.Conn
		for range 3 {
			c := b.dial("10.0.0.1")
			busy = append(busy, c)
			go b.get(c, "/slow")
		}
		synctest.Wait()
		if b.get(b.dial("10.0.0.2"), "/") {
			t.Error("a connection more than the bound was served")
		}
		operator := b.dial("127.0.0.1")
		if !b.get(operator, "/") {
			t.Error("the reserved place was refused to a client on this machine")
		}
		if b.ln.Refused() != 1 || b.ln.Open() != 4 {
			t.Errorf("%d refused and %d open, want 1 and 4", b.ln.Refused(), b.ln.Open())
		}
		synctest.Wait() // the operator's connection is idle before the others are
		close(release)
		synctest.Wait()
		// All wait for a request now: a new connection takes the place of the one that has been idle longest.
		if !b.get(b.dial("10.0.0.3"), "/") {
			t.Error("an idle connection did not give up its place")
		}
		synctest.Wait()
		if b.get(operator, "/") {
			t.Error("the connection that was idle longest is still served")
		}
		if b.ln.Open() > 4 {
			t.Errorf("%d open, want at most 4", b.ln.Open())
		}
		for _, c := range busy {
			_ = c.Close()
		}
		synctest.Wait()
		if b.ln.Open() != 1 {
			t.Errorf("%d open after the others were closed, want 1", b.ln.Open())
		}
	})
}

// short is a listener of a process that has no file left for the next connections.
type short struct {
	*remote
	failures int
}

func (s *short) Accept() (net.Conn, error) {
	if s.failures > 0 {
		s.failures--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.remote.Accept()
}

// A listener whose process is out of files is one that accepts later: its server must not end.
func TestAcceptWithoutFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &remote{make(chan net.Conn, 1), make(chan struct{})}
		ln := webserver.Listen(&short{in, 20}, webserver.Limits{Name: "SQL", Log: slog.New(slog.DiscardHandler)})
		_, server := net.Pipe()
		in.conns <- server
		began := time.Now()
		c, err := ln.Accept()
		if err != nil {
			t.Fatalf("accept ended with %v", err)
		}
		c.Close()
		if waited := time.Since(began); waited == 0 || waited > time.Minute {
			t.Errorf("20 failures took %v", waited)
		}
		ln.Close()
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the closed listener answered %v", err)
		}
	})
}
