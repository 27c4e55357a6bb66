package webserver

import (
	"container/list"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/base/work"
)

// Limits bounds a listener.
type Limits struct {
	Connections int // at one time; 0: no bound
	Reserve     int // of them, for clients on this machine alone
	// Name is what the listener is called in the log.
	Name string
	Log  *slog.Logger
}

// Listener is a listener whose connections are counted.
type Listener struct {
	net.Listener
	limits  Limits
	refused atomic.Int64
	retry   work.Retry

	mu   sync.Mutex
	open int
	idle list.List // of *conn, the longest idle first
	full bool      // the log was told, and there has been no place since
}

// Listen bounds the connections of ln.
func Listen(ln net.Listener, l Limits) *Listener {
	if l.Log == nil {
		l.Log = slog.Default()
	}
	return &Listener{Listener: ln, limits: l,
		retry: work.Retry{Log: l.Log, What: l.Name + ": accepting a connection", First: 10 * time.Millisecond, Last: time.Second}}
}

// Refused returns how many connections found no place.
func (l *Listener) Refused() int64 { return l.refused.Load() }

// Open returns how many connections there are.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Accept returns the next connection that has a place. Others are closed. Where the process
// or the machine has no file or memory left for a connection, it waits: a server that is given
// such an error ends, and its node with it.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if isTemporary(err) {
			time.Sleep(l.retry.Failed(err))
			continue
		}
		if err != nil {
			return nil, err
		}
		l.retry.Worked()
		c := &conn{Conn: raw, of: l}
		if l.admit(c) {
			return c, nil
		}
		_ = raw.Close() // it was never used
	}
}

func isTemporary(err error) bool {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

func (l *Listener) admit(c *conn) bool {
	if l.limits.Connections == 0 {
		return true
	}
	places := l.limits.Connections
	if !local(c.RemoteAddr()) {
		places -= l.limits.Reserve
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open < places {
		l.open++
		l.full = false
		return true
	}
	if e := l.idle.Front(); e != nil {
		victim := e.Value.(*conn)
		l.forget(victim)
		victim.gone = true // its place goes to the new one
		_ = victim.Conn.Close()
		return true
	}
	l.refused.Add(1)
	if !l.full { // once, until there is a place again
		l.full = true
		l.limits.Log.Warn("connections are refused: the listener has as many as it may", "listener", l.limits.Name, "connections", l.limits.Connections)
	}
	return false
}

// Idle is the http.Server's ConnState: it tells the listener which connections wait for a request.
func (l *Listener) Idle(c net.Conn, state http.ConnState) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	mine, ok := c.(*conn)
	if !ok || mine.of != l {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(mine)
	if state == http.StateIdle && !mine.gone {
		mine.idle = l.idle.PushBack(mine)
	}
}

func (l *Listener) forget(c *conn) {
	if c.idle != nil {
		l.idle.Remove(c.idle)
		c.idle = nil
	}
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	of   *Listener
	idle *list.Element // in the listener's list
	gone bool          // the place was given back
}

// Close closes the connection.
func (c *conn) Close() error {
	l := c.of
	l.mu.Lock()
	l.forget(c)
	if !c.gone && l.limits.Connections != 0 {
		l.open--
	}
	c.gone = true
	l.mu.Unlock()
	return c.Conn.Close()
}

// NetConn returns the connection underneath, for callers that need its file.
func (c *conn) NetConn() net.Conn { return c.Conn }

func local(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}
