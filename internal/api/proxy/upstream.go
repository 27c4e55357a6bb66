package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	wire "golang.org/x/net/http2"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/api/proxy/http2"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/balancer"
)

// upstreamKey tells which connections may be used for one another.
type upstreamKey struct {
	addr       netip.AddrPort
	tls        *tls.Config // of the service; nil for clear text
	serverName string      // for TLS
}

// upstreamConn is one HTTP/1 connection to an upstream.
type upstreamConn struct {
	stream
	key       upstreamKey
	raw       syscall.RawConn // of TCP, also under TLS
	peek      func(fd uintptr)
	quiet     bool // what peek found
	head      http1.Head
	body      http1.Body
	out       []byte
	idleSince int64
	requests  int
	reused    bool
}

// upstreams keeps idle connections by upstream, the most recently used one first.
type upstreams struct {
	p      *Proxy
	dialer net.Dialer
	mu     sync.Mutex
	idle   map[upstreamKey][]*upstreamConn
	kept   int // connections in idle
	closed bool
	anyone *tls.Config // of a service that a plugin has made one of TLS: nothing is verified
	stop   chan struct{}
	wg     sync.WaitGroup
}

func (u *upstreams) init(p *Proxy) {
	u.anyone = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	u.p, u.idle, u.stop = p, map[upstreamKey][]*upstreamConn{}, make(chan struct{})
	u.dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}
	u.wg.Go(u.reap)
}

// keyOf returns the key for the attempt in progress. It may lie in the exchange's memory.
func (u *upstreams) keyOf(x *gateway.Exchange) upstreamKey {
	k := upstreamKey{addr: x.Upstream.Address}
	if s := x.Upstream.Service; s.TLS() {
		if k.tls, k.serverName = s.TLSConfig, x.Upstream.ServerName(); k.tls == nil {
			k.tls = u.anyone
		}
	}
	return k
}

// get returns an idle connection for the attempt, or with fresh a new one. A connection is
// looked at before it is used again, though that costs a system call: what an upstream
// sent beyond its last answer would be taken for the answer to the next request, which is
// somebody else's.
func (u *upstreams) get(ctx context.Context, x *gateway.Exchange, fresh bool, now int64) (*upstreamConn, error) {
	key := u.keyOf(x)
	for !fresh {
		u.mu.Lock()
		list := u.idle[key]
		n := len(list)
		if n == 0 {
			u.mu.Unlock()
			break
		}
		c := list[n-1]
		list[n-1] = nil
		u.idle[key] = list[:n-1]
		u.kept--
		u.mu.Unlock()
		if time.Duration(now-c.idleSince) > u.p.cfg.UpstreamIdleTimeout || !c.alive() {
			c.Conn.Close()
			continue
		}
		c.reused = true
		return c, nil
	}
	key.serverName = strings.Clone(key.serverName)
	conn, raw, err := u.dial(ctx, key, x.Upstream.Service.ConnectTimeout, "http/1.1")
	if err != nil {
		return nil, err
	}
	c := &upstreamConn{key: key}
	if sc, ok := raw.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.peek = func(fd uintptr) { c.quiet = peek(fd) == peekQuiet }
	c.stream = stream{Conn: conn, p: u.p, buf: make([]byte, smallBuffer)}
	return c, nil
}

// dialError is a connection that did not come about: nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// dial connects within the time-out, which holds for TCP and TLS together. An empty
// proto names none by ALPN. raw is the
// connection under TLS.
func (u *upstreams) dial(ctx context.Context, key upstreamKey, wait time.Duration, proto string) (conn, raw net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	raw, err = u.dialer.DialContext(ctx, "tcp", key.addr.String())
	if err != nil {
		return nil, nil, &dialError{err}
	}
	raw = direct(raw)
	if key.tls == nil {
		return raw, raw, nil
	}
	tc := tls.Client(raw, clientTLS(key, proto))
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, nil, &dialError{err}
	}
	return tc, raw, nil
}

// clientTLS is the configuration for TLS to an upstream.
func clientTLS(key upstreamKey, proto string) *tls.Config {
	c := key.tls.Clone()
	c.ServerName, c.NextProtos = key.serverName, nil
	if proto != "" {
		c.NextProtos = []string{proto}
	}
	return c
}

// maxKept bounds the idle connections of all upstreams together: where the client's Host is
// preserved, clients choose the names that connections of TLS are kept by.
const maxKept = 8192

// put keeps a connection for the next request, or closes it.
func (u *upstreams) put(c *upstreamConn, now int64) {
	c.requests++
	if c.requests < u.p.cfg.UpstreamRequests {
		c.next()
		c.idleSince = now
		u.mu.Lock()
		if list := u.idle[c.key]; !u.closed && len(list) < u.p.cfg.UpstreamIdle && u.kept < maxKept {
			u.idle[c.key] = append(list, c)
			u.kept++
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
	}
	c.Conn.Close()
}

// reap closes connections that have been idle for too long.
func (u *upstreams) reap() {
	tick := time.NewTicker(max(u.p.cfg.UpstreamIdleTimeout/4, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-u.stop:
			return
		case <-tick.C:
		}
		limit := u.p.nanos() - int64(u.p.cfg.UpstreamIdleTimeout)
		var old []*upstreamConn
		u.mu.Lock()
		for key, list := range u.idle {
			i := 0
			for i < len(list) && list[i].idleSince < limit {
				i++
			}
			old = append(old, list[:i]...)
			u.kept -= i
			if u.idle[key] = slices.Delete(list, 0, i); len(u.idle[key]) == 0 {
				delete(u.idle, key)
			}
		}
		u.mu.Unlock()
		for _, c := range old {
			c.Conn.Close()
		}
		u.p.calls.reap()
	}
}

func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	u.closed = true
	close(u.stop)
	for _, list := range u.idle {
		for _, c := range list {
			c.Conn.Close()
		}
	}
	clear(u.idle)
}

// alive reports whether an idle connection is still open and silent. A connection that
// has anything to read is of no use: it was closed, or its upstream speaks out of turn.
func (c *upstreamConn) alive() bool {
	c.quiet = false
	return c.raw != nil && c.raw.Control(c.peek) == nil && c.quiet
}

// failureCode is the status that stands for a failed attempt.
func failureCode(err error) int {
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return 504
	}
	return 502
}

// unreachable answers an exchange whose upstream could not be reached or did not answer.
func unreachable(x *gateway.Exchange, err error) {
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge): // the client's, met while it was being sent
		x.Fail(413, gateway.TooLargeMessage)
	case errors.Is(err, balancer.ErrName):
		x.FailPlain(503, "name resolution failed")
	case errors.Is(err, balancer.ErrNoPeer):
		x.FailPlain(503, "failure to get a peer from the ring-balancer")
	case isTimeout(err) || errors.Is(err, context.DeadlineExceeded) || overdue(x, err):
		x.FailPlain(504, "The upstream server is timing out")
	default:
		x.FailPlain(502, "An invalid response was received from the upstream server")
	}
}

// overdue reports whether a server of gRPC has given up a call that has a deadline: it resets
// the stream when the time is over, perhaps before the client's own clock says so.
func overdue(x *gateway.Exchange, err error) bool {
	reset, ok := errors.AsType[*http2.ResetError](err)
	return ok && reset.Code == wire.ErrCodeCancel && x.Request.Header.Get("Grpc-Timeout") != ""
}

func isIdempotent(method string) bool {
	switch method {
	case "POST", "PATCH", "LOCK", "CONNECT":
		return false
	}
	return true
}

// wantsLength reports whether a request of the method says "Content-Length: 0" when it has
// no body (RFC 9110 section 8.6).
func wantsLength(method string) bool { return method == "POST" || method == "PUT" || method == "PATCH" }
