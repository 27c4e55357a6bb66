package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// StreamListener is a listener for connections that are passed on as they are.
type StreamListener struct {
	net.Listener
	// TLS is whether clients speak TLS: routes of tls end it here, those of
	// tls_passthrough pass it on undisturbed.
	TLS           bool
	ProxyProtocol bool
}

// ServeStream is Serve for connections that are passed on as they are.
func (p *Proxy) ServeStream(ctx context.Context, l StreamListener) error {
	var ended *tls.Config
	if l.TLS {
		if p.cfg.TLS == nil {
			return errors.New("proxy: a TLS listener needs a TLS configuration")
		}
		ended = newFront(p.gw, p.staple, p.cfg.TLS).base
	}
	stop := context.AfterFunc(ctx, p.stopAccepting)
	defer stop()
	if !p.listenOn(l) {
		return l.Close()
	}
	defer p.accepting.Done()
	return p.accept(l, func(c net.Conn) { p.serveStream(c, l, ended) })
}

// flow is one connection that is passed on as it is.
type flow struct {
	p      *Proxy
	client net.Conn // as the upstream's bytes go to it
	raw    net.Conn
	meta   gateway.Conn
	told   source
	ctx    context.Context
	cancel context.CancelFunc
}

// drain lets a flow go on: only its ends know when it is done.
func (f *flow) drain() {}

func (f *flow) abort() { f.cancel(); f.raw.Close() }

func (p *Proxy) serveStream(raw net.Conn, l StreamListener, ended *tls.Config) {
	defer raw.Close()
	f := &flow{p: p, client: raw, raw: raw}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	defer f.cancel()
	f.meta.Peer, f.meta.Local = addrPort(raw.RemoteAddr()), addrPort(raw.LocalAddr())
	f.meta.ServerPort, f.meta.PeerIP = int(f.meta.Local.Port()), f.meta.Peer.Addr().String()
	f.meta.Trusted = p.cfg.Trust.Trusts(f.meta.Peer.Addr())
	p.track(f)
	defer p.untrack(f)
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("panic while serving a connection", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	raw.SetDeadline(time.Now().Add(p.cfg.HeadTimeout))
	if l.ProxyProtocol {
		var err error
		if f.told, err = readSource(raw); err != nil {
			p.log.Debug("refused a connection", "peer", f.meta.PeerIP, "err", err)
			return
		}
	}
	takes, name := gateway.TCP, ""
	if l.TLS {
		hello, read := peekHello(raw)
		if hello == nil {
			return
		}
		takes, name = gateway.TLS|gateway.TLSPassthrough, hello.ServerName
		f.client = &prefixConn{raw, read}
	}
	x := p.gw.Begin()
	defer func() { p.gw.End(x) }()
	x.Conn = &f.meta
	x.Times.Start = time.Now()
	x.SetContext(f.ctx)
	if f.meta.Trusted && f.told.addr.IsValid() && p.cfg.Trust.Header == proxyProtocol {
		x.SetClient(f.told.addr, f.told.ip)
	}
	if !p.gw.Preread(x, takes, name) {
		p.log.Debug("no route for a connection, or it was refused", "client", x.ClientIP(), "server_name", name)
		return
	}
	if l.TLS && x.Route().Protocols&gateway.TLSPassthrough == 0 {
		tc := tls.Server(f.client, ended)
		if tc.HandshakeContext(f.ctx) != nil {
			x.Response.Status = 500
			return
		}
		defer tc.Close()
		state := tc.ConnectionState()
		f.meta.TLS, f.client = &state, tc
	}
	raw.SetDeadline(time.Time{})
	up, err := f.connect(x)
	if err != nil {
		x.Response.Status = 502
		p.log.Info("upstream not reached", "service", x.Upstream.Service.Name, "address", x.Upstream.Address, "err", err)
		return
	}
	defer up.Close()
	x.SetForwarded()
	x.Response.Status = 200
	f.pass(x, up)
}

// connect reaches the upstream, trying again as the service allows.
func (f *flow) connect(x *gateway.Exchange) (net.Conn, error) {
	service := x.Upstream.Service
	x.Times.UpstreamStart = time.Now()
	for try, start := 0, x.Times.UpstreamStart; ; try, start = try+1, time.Now() {
		if err := x.NextTry(start); err != nil {
			return nil, err
		}
		up, _, err := f.p.upstreams.dial(f.ctx, f.p.upstreams.keyOf(x), service.ConnectTimeout, "")
		if err == nil {
			return up, nil
		}
		if f.ctx.Err() != nil {
			return nil, err
		}
		if x.FailTry(failureCode(err)); try >= service.Retries {
			return nil, err
		}
	}
}

// pass copies bytes both ways until both sides have ended, or neither moves.
func (f *flow) pass(x *gateway.Exchange, up net.Conn) {
	var first []byte
	client := f.client
	if c, ok := client.(*prefixConn); ok {
		client, first = c.Conn, c.prefix
	}
	stop := context.AfterFunc(f.ctx, func() { up.Close() })
	defer stop()
	t := tunnel{wait: x.Upstream.Service.ReadTimeout, p: f.p}
	t.last.Store(f.p.nanos())
	var sent sync.WaitGroup
	sent.Go(func() { x.Times.BytesIn = t.copy(up, client, first) })
	x.Times.BytesOut = t.copy(client, up, nil)
	sent.Wait()
	x.Times.End = time.Now()
}

// maxHello bounds a ClientHello with what else arrives along with it.
const maxHello = 64 << 10

// peekHello reads a ClientHello and returns it with the bytes it was read from; nil where
// what comes is something else. TLS itself reads it, and is told to stop there.
func peekHello(c net.Conn) (*tls.ClientHelloInfo, []byte) {
	r := &helloReader{Conn: c}
	var hello *tls.ClientHelloInfo
	tls.Server(r, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hello = h
		return nil, errHelloRead
	}}).Handshake()
	return hello, r.read
}

var errHelloRead = errors.New("proxy: the ClientHello was read")

// helloReader keeps what is read, and lets nothing be written.
type helloReader struct {
	net.Conn
	read []byte
}

func (r *helloReader) Read(p []byte) (int, error) {
	if len(r.read) >= maxHello {
		return 0, io.ErrShortBuffer
	}
	n, err := r.Conn.Read(p)
	r.read = append(r.read, p[:n]...)
	return n, err
}

func (r *helloReader) Write(p []byte) (int, error) { return len(p), nil }
