package plat

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Relay passes connections on from an address of a Lan to one of the test's own loopback, such
// as a database's, and can stop to.
type Relay struct {
	Address string

	t      testing.TB
	target string
	mu     sync.Mutex
	ln     net.Listener
	conns  map[net.Conn]bool
}

// Relay makes a server on loopback reachable for the hosts, at Outside.
func (l *Lan) Relay(target string) *Relay {
	l.t.Helper()
	r := &Relay{t: l.t, target: target, Address: l.Outside + ":0", conns: map[net.Conn]bool{}}
	r.Start()
	l.t.Cleanup(r.Stop)
	return r
}

// Start takes connections, also again after Stop.
func (r *Relay) Start() {
	r.t.Helper()
	ln, err := net.Listen("tcp", r.Address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.ln, r.Address = ln, ln.Addr().String()
	r.mu.Unlock()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.pass(conn)
		}
	}()
}

func (r *Relay) pass(from net.Conn) {
	to, err := net.Dial("tcp", r.target)
	if err != nil {
		_ = from.Close() // as the server would
		return
	}
	r.mu.Lock()
	r.conns[from], r.conns[to] = true, true
	r.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0]) // either end's end is both's
			_ = way[1].Close()
		})
	}
	both.Wait()
	_ = from.Close()
	r.mu.Lock()
	delete(r.conns, from)
	delete(r.conns, to)
	r.mu.Unlock()
}

// Stop breaks all connections and takes no more.
func (r *Relay) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.ln.Close() // stopped already, perhaps
	for c := range r.conns {
		_ = c.Close() // its loops see it
	}
}
