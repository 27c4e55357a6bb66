package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
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
	meta *gateway.Conn
	done chan struct{}
}

type h2ConnKey struct{}

func newH2Server(p *Proxy) *h2Server {
	h := &h2Server{p: p, conns: make(chan net.Conn), closed: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	h.server = &http.Server{
		Handler: http.HandlerFunc(p.serveHTTP2), Protocols: protocols,
		MaxHeaderBytes: p.cfg.MaxHead, IdleTimeout: p.cfg.IdleTimeout, ReadHeaderTimeout: p.cfg.HeadTimeout,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250, SendPingTimeout: p.cfg.IdleTimeout, PingTimeout: 15 * time.Second,
			WriteByteTimeout: p.cfg.SendTimeout,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if m, ok := h.pending.Load(c); ok {
				ctx = context.WithValue(ctx, h2ConnKey{}, m.(*h2Conn).meta)
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
func (h *h2Server) serve(c net.Conn, meta *gateway.Conn) {
	h.once.Do(func() { go h.server.Serve(h) })
	m := &h2Conn{meta, make(chan struct{})}
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

// h2Upstreams are the ways to an upstream for requests that came in HTTP/2.
type h2Upstreams struct {
	plain, secure, verified    *http.Transport // HTTP/1.1, as Kong speaks to HTTP services
	grpc, grpcs, grpcsVerified *http.Transport
}

func newH2Upstreams(p *Proxy) *h2Upstreams {
	transport := func(h2, secure, verify bool) *http.Transport {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!h2)
		protocols.SetHTTP2(h2 && secure)
		protocols.SetUnencryptedHTTP2(h2 && !secure)
		return &http.Transport{
			Protocols: protocols, DialContext: p.upstreams.dialer.DialContext, DisableCompression: true,
			TLSClientConfig:        clientTLS(upstreamKey{verify: verify}, map[bool]string{true: "h2", false: "http/1.1"}[h2]),
			MaxIdleConnsPerHost:    p.cfg.UpstreamIdle,
			IdleConnTimeout:        p.cfg.UpstreamIdleTimeout,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &h2Upstreams{
		plain: transport(false, false, false), secure: transport(false, true, false), verified: transport(false, true, true),
		grpc: transport(true, false, false), grpcs: transport(true, true, false), grpcsVerified: transport(true, true, true),
	}
}

func (u *h2Upstreams) of(s *gateway.Service) *http.Transport {
	pick := func(plain, secure, verified *http.Transport) *http.Transport {
		switch {
		case !s.TLS():
			return plain
		case s.TLSVerify:
			return verified
		}
		return secure
	}
	if s.GRPC() {
		return pick(u.grpc, u.grpcs, u.grpcsVerified)
	}
	return pick(u.plain, u.secure, u.verified)
}

func (u *h2Upstreams) close() {
	for _, t := range []*http.Transport{u.plain, u.secure, u.verified, u.grpc, u.grpcs, u.grpcsVerified} {
		t.CloseIdleConnections()
	}
}
