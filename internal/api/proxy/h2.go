package proxy

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// h2Server serves HTTP/2 connections that the listeners have recognised, by net/http.
type h2Server struct {
	p       *Proxy
	server  *http.Server
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once // starts the server
	closing sync.Once
	pending sync.Map // net.Conn → *h2Conn
}

// h2Conn is what net/http does not keep of a connection.
type h2Conn struct {
	client *clientConn
	done   chan struct{}
}

type h2ConnKey struct{}

func newH2Server(p *Proxy) *h2Server {
	h := &h2Server{p: p, conns: make(chan net.Conn), closed: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	h.server = &http.Server{
		DisableGeneralOptionsHandler: true, // what may be asked is for serveHTTP2 to say
		Handler:                      http.HandlerFunc(p.serveHTTP2), Protocols: protocols,
		MaxHeaderBytes: p.cfg.MaxHead, IdleTimeout: p.cfg.IdleTimeout, ReadHeaderTimeout: p.cfg.HeadTimeout,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250, SendPingTimeout: p.cfg.IdleTimeout, PingTimeout: 15 * time.Second,
			WriteByteTimeout: p.cfg.SendTimeout,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if m, ok := h.pending.Load(c); ok {
				ctx = context.WithValue(ctx, h2ConnKey{}, m.(*h2Conn).client)
			}
			return ctx
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateClosed || s == http.StateHijacked {
				if m, ok := h.pending.LoadAndDelete(c); ok {
					close(m.(*h2Conn).done)
				}
			}
		},
		ErrorLog: quietLog(p.log),
	}
	return h
}

// serve serves one connection until it ends.
func (h *h2Server) serve(c net.Conn, client *clientConn) {
	h.once.Do(func() { go h.server.Serve(h) })
	m := &h2Conn{client, make(chan struct{})}
	h.pending.Store(c, m)
	select {
	case h.conns <- c:
		<-m.done
	case <-h.closed:
		h.pending.Delete(c)
	}
}

// Accept, Close and Addr make the server a net.Listener of the connections given to serve.
func (h *h2Server) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *h2Server) Close() error {
	h.closing.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *h2Server) Addr() net.Addr { return &net.TCPAddr{} }

// shutdown lets streams in flight finish, until ctx ends.
func (h *h2Server) shutdown(ctx context.Context) {
	h.once.Do(func() { h.Close() }) // never started
	if err := h.server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		h.server.Close()
	}
}

// h2Upstreams are the ways to an upstream of HTTP/1.1, as Kong speaks to HTTP services, for
// requests that came in HTTP/2 with a body that streams. Connections are kept by what
// distinguishes them: how TLS is spoken (nil: clear text), and within these the address and
// the name of the server.
type h2Upstreams struct {
	p  *Proxy
	mu sync.Mutex
	by map[*tls.Config]*h2Transport
}

type h2Transport struct {
	*http.Transport
	usedAt int64 // by Proxy.nanos
}

// maxH2Ways is how many are kept before those that nobody uses any more are dropped.
const maxH2Ways = 16

func newH2Upstreams(p *Proxy) *h2Upstreams {
	return &h2Upstreams{p: p, by: map[*tls.Config]*h2Transport{}}
}

func (u *h2Upstreams) of(way *tls.Config) *http.Transport {
	now := u.p.nanos()
	u.mu.Lock()
	defer u.mu.Unlock()
	t := u.by[way]
	if t == nil {
		u.drop(now - 2*int64(u.p.cfg.UpstreamIdleTimeout))
		t = &h2Transport{Transport: u.transport()}
		u.by[way] = t
	}
	t.usedAt = now
	return t.Transport
}

// drop gives up the ways not used since a moment, where there are many: a change of a
// certificate makes a new way and leaves the old one behind.
func (u *h2Upstreams) drop(before int64) {
	if len(u.by) < maxH2Ways {
		return
	}
	for way, t := range u.by {
		if t.usedAt < before {
			delete(u.by, way)
			t.CloseIdleConnections()
		}
	}
}

func (u *h2Upstreams) transport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := ctx.Value(h2DialKey{}).(*h2Dial)
		conn, _, err := u.p.upstreams.dial(ctx, d.key, d.wait, "http/1.1")
		return conn, err
	}
	return &http.Transport{
		Protocols: protocols, DialContext: dial, DialTLSContext: dial, DisableCompression: true,
		MaxIdleConns:           maxKept,
		MaxIdleConnsPerHost:    u.p.cfg.UpstreamIdle,
		IdleConnTimeout:        u.p.cfg.UpstreamIdleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// h2Dial tells the transport's dialer, in the request's context, where to connect.
type h2Dial struct {
	key  upstreamKey
	wait time.Duration
}

type h2DialKey struct{}

// roundTrip sends the request where the attempt in progress goes.
func (u *h2Upstreams) roundTrip(out *http.Request, x *gateway.Exchange) (*http.Response, error) {
	service, key := x.Upstream.Service, u.p.upstreams.keyOf(x)
	key.serverName = strings.Clone(key.serverName)
	out.Host = strings.Clone(x.Upstream.HostHeader)
	// The transport keeps its connections by URL.Host. It stands for address and name of
	// the server, and nobody resolves it: the dialer goes by the key.
	out.URL.Host = key.addr.String()
	if key.tls != nil {
		out.URL.Host = hex.EncodeToString([]byte(key.addr.String()+" "+key.serverName)) + ":443"
	}
	out = out.WithContext(context.WithValue(out.Context(), h2DialKey{}, &h2Dial{key, service.ConnectTimeout}))
	return u.of(key.tls).RoundTrip(out)
}

func (u *h2Upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range u.by {
		t.CloseIdleConnections()
	}
}
