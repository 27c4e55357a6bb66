package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http2"
	"sluice.dev/sluice/internal/service/gateway"
)

// upstreams2 keeps connections of HTTP/2 by upstream. Requests share them: another one is made
// when those that are there take no more.
type upstreams2 struct {
	p      *Proxy
	mu     sync.Mutex
	by     map[upstreamKey]*conns2
	kept   int // connections in by
	closed bool
}

// conns2 is one upstream's connections, and how another one comes about.
type conns2 struct {
	conns   []*http2.Conn
	dial    *dial2 // the one to wait for; nil where none is in progress
	dials   int    // in progress
	streams int    // that the last connection takes
}

// dial2 is a connection in the making.
type dial2 struct {
	done    chan struct{}
	waiting int
	err     error
}

// streams2 is how many requests share a connection at most, and window2 how many bytes of
// an answer are held for a client that is slower than its upstream.
const (
	streams2 = 128
	window2  = 256 << 10
)

// maxRounds2 is how often a request waits for a connection and then finds its place taken.
const maxRounds2 = 8

var (
	errNotHTTP2 = errors.New("proxy: the upstream does not speak HTTP/2")
	errBusy2    = errors.New("proxy: the upstream's connections take no more requests")
)

// get returns a connection for the attempt, with a place reserved on it.
func (u *upstreams2) get(ctx context.Context, x *gateway.Exchange) (*http2.Conn, error) {
	key := u.p.upstreams.keyOf(x)
	for range maxRounds2 {
		u.mu.Lock()
		l := u.by[key]
		if l == nil {
			key.serverName = strings.Clone(key.serverName)
			l = &conns2{streams: streams2}
			u.by[key] = l
		}
		for _, c := range l.conns {
			if c.Reserve() {
				u.mu.Unlock()
				return c, nil
			}
		}
		d := l.dial
		if d == nil || d.waiting >= l.streams {
			d = &dial2{done: make(chan struct{})}
			l.dial = d
			l.dials++
			key.serverName = strings.Clone(key.serverName)
			go u.connect(key, l, d, x.Upstream.Service.ConnectTimeout)
		}
		d.waiting++
		u.mu.Unlock()
		select {
		case <-d.done:
		case <-ctx.Done():
			return nil, &dialError{context.Cause(ctx)}
		}
		if d.err != nil {
			return nil, d.err
		}
	}
	return nil, &dialError{errBusy2}
}

// connect makes a connection for all who wait for it, whether or not the first of them
// stays to see it.
func (u *upstreams2) connect(key upstreamKey, l *conns2, d *dial2, wait time.Duration) {
	c, err := u.make(key, wait)
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.dials--; l.dial == d {
		l.dial = nil
	}
	if d.err = err; err == nil {
		if u.closed {
			c.Close()
		}
		l.conns = append(l.conns, c)
		l.streams = max(c.Limit(), 1)
		if u.kept++; u.kept > maxKept {
			u.drop(0)
		}
	}
	close(d.done)
}

// make connects and waits for the upstream's settings, so that the first requests keep
// to its limits, and a server of something else is found out before anything was sent.
func (u *upstreams2) make(key upstreamKey, wait time.Duration) (*http2.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, _, err := u.p.upstreams.dial(ctx, key, wait, "h2")
	if err != nil {
		return nil, err
	}
	if tc, ok := conn.(*tls.Conn); ok && tc.ConnectionState().NegotiatedProtocol != "h2" {
		conn.Close()
		return nil, &dialError{errNotHTTP2}
	}
	c := http2.NewClient(conn, http2.Config{
		Streams: streams2, Window: window2, HeaderList: 64 << 10, WriteTimeout: u.p.cfg.SendTimeout,
	})
	if err := c.Settled(ctx); err != nil {
		c.Close()
		return nil, &dialError{err}
	}
	return c, nil
}

// reap ends connections that have been idle for too long, and forgets those that have ended.
func (u *upstreams2) reap() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop(u.p.cfg.UpstreamIdleTimeout)
}

// drop ends connections without requests for longer than idle. The lock is held.
func (u *upstreams2) drop(idle time.Duration) {
	for key, l := range u.by {
		before := len(l.conns)
		l.conns = slices.DeleteFunc(l.conns, func(c *http2.Conn) bool { return !c.Check(idle) })
		u.kept -= before - len(l.conns)
		if len(l.conns) == 0 && l.dials == 0 {
			delete(u.by, key)
		}
	}
}

func (u *upstreams2) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, l := range u.by {
		for _, c := range l.conns {
			c.Close()
		}
	}
}
