package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/api/proxy/http2"
	"sluice.dev/sluice/internal/base/work"
	"sluice.dev/sluice/internal/service/gateway"
)

// Config bounds what clients and upstreams may take. The zero value means the defaults.
type Config struct {
	MaxConnections int           // client connections at a time, 16384; further ones wait in the backlog
	MaxLine        int           // bytes of a request line, 8 KiB
	MaxHead        int           // bytes of a request's head, 32 KiB
	HeadTimeout    time.Duration // for a whole head, and for a TLS handshake, 60 s
	BodyTimeout    time.Duration // between two reads of a request's body, 60 s
	SendTimeout    time.Duration // between two writes of an answer, 60 s
	IdleTimeout    time.Duration // between two requests of a connection, 75 s
	ClientCheck    time.Duration // how often a client is looked at while its upstream is silent, 5 s
	// BufferBody is the largest request body that is read whole before an upstream is
	// connected, where the route has request_buffering; 64 KiB.
	BufferBody int
	// BufferAnswer is the largest answer that a plugin can see as a whole, 32 MiB; a larger
	// one gives 502 where there is such a plugin.
	BufferAnswer int
	// UpstreamIdle connections are kept per upstream, 512, for UpstreamIdleTimeout, 60 s,
	// and UpstreamRequests requests, 10000.
	UpstreamIdle        int
	UpstreamIdleTimeout time.Duration
	UpstreamRequests    int
	// Trust says which peers' word on their clients counts; nobody's by default.
	Trust Trust
	// ProxyProtocol is whether every connection begins with a header of the PROXY protocol.
	ProxyProtocol bool
	// TLS is the configuration of the TLS listener. Its certificates are for the names that
	// the gateway has none for; protocols and clients' certificates are the proxy's matter.
	TLS *tls.Config
}

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	wait := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Trust.Header == "" {
		c.Trust.Header = "X-Real-IP"
	}
	def(&c.MaxConnections, 16384)
	def(&c.MaxLine, 8<<10)
	def(&c.MaxHead, 32<<10)
	def(&c.BufferBody, 64<<10)
	def(&c.BufferAnswer, 32<<20)
	def(&c.UpstreamIdle, 512)
	def(&c.UpstreamRequests, 10_000)
	wait(&c.HeadTimeout, 60*time.Second)
	wait(&c.BodyTimeout, 60*time.Second)
	wait(&c.SendTimeout, 60*time.Second)
	wait(&c.IdleTimeout, 75*time.Second)
	wait(&c.ClientCheck, 5*time.Second)
	wait(&c.UpstreamIdleTimeout, 60*time.Second)
	return c
}

// Deps is what the proxy needs from others.
type Deps struct {
	Gateway *gateway.Gateway
	Log     *slog.Logger
	// Staple gives a certificate of the gateway's an OCSP answer along, or returns it as it
	// is; it must not block. nil: there are no answers.
	Staple func(*tls.Certificate) *tls.Certificate
}

// Proxy serves the data plane's listeners.
type Proxy struct {
	cfg    Config
	gw     *gateway.Gateway
	log    *slog.Logger
	staple func(*tls.Certificate) *tls.Certificate
	limits http1.Limits
	base   time.Time // the zero of nanos

	upstreams upstreams
	workers   *http2.Workers // for HTTP/2
	h2out     *h2Upstreams
	calls     upstreams2
	slots     chan struct{}
	large     sync.Pool // *[]byte of largeBuffer bytes
	date      atomic.Pointer[dated]

	stopping  atomic.Bool
	draining  atomic.Bool
	stopped   chan struct{} // closed with stopping
	closing   sync.Once
	mu        sync.Mutex
	listeners []io.Closer // being served
	conns     map[closer]struct{}
	accepting sync.WaitGroup // loops that accept
	wg        sync.WaitGroup // connections
	stats     Stats
}

// Stats counts client connections since the start.
type Stats struct {
	Accepted atomic.Int64
	Active   atomic.Int64
	Requests atomic.Int64
}

// closer is a client connection as the proxy's shutdown sees it.
type closer interface {
	// drain asks the connection to end after what it is doing, at once where that is nothing.
	drain()
	// abort ends it now.
	abort()
}

// New returns a proxy without listeners.
func New(c Config, d Deps) *Proxy {
	c = c.withDefaults()
	p := &Proxy{
		cfg: c, gw: d.Gateway, log: d.Log, staple: d.Staple, base: time.Now(),
		limits: http1.Limits{Line: c.MaxLine, Head: c.MaxHead, Fields: 200},
		slots:  make(chan struct{}, c.MaxConnections),
		conns:  map[closer]struct{}{}, stopped: make(chan struct{}),
	}
	p.large.New = func() any { b := make([]byte, largeBuffer); return &b }
	p.calls = upstreams2{p: p, by: map[upstreamKey]*conns2{}}
	p.upstreams.init(p)
	p.workers, p.h2out = http2.NewWorkers(), newH2Upstreams(p)
	return p
}

// Stats returns the counters.
func (p *Proxy) Stats() *Stats { return &p.stats }

// nanos is the time since the proxy was made, on the monotonic clock.
func (p *Proxy) nanos() int64 { return int64(time.Since(p.base)) }

// at is what nanos was at t.
func (p *Proxy) at(t time.Time) int64 { return int64(t.Sub(p.base)) }

// Serve accepts connections until ctx ends or Shutdown is called: clear text on plain, TLS
// on secure. Either may be nil. It closes the listeners and returns at once then; Shutdown
// waits for the connections.
func (p *Proxy) Serve(ctx context.Context, plain, secure net.Listener) error {
	var tlsConfig *tls.Config
	if secure != nil {
		if p.cfg.TLS == nil {
			return errors.New("proxy: a TLS listener needs a TLS configuration")
		}
		tlsConfig = newFront(p.gw, p.staple, p.cfg.TLS, "h2", "http/1.1").base
	}
	stop := context.AfterFunc(ctx, p.stopAccepting)
	defer stop()
	errs := make(chan error, 2)
	n := 0
	for _, l := range []struct {
		ln  net.Listener
		tls *tls.Config
	}{{plain, nil}, {secure, tlsConfig}} {
		if l.ln == nil {
			continue
		}
		if !p.listenOn(l.ln) {
			l.ln.Close() // it was stopped before it began
			continue
		}
		n++
		go func() {
			defer p.accepting.Done()
			errs <- p.accept(l.ln, func(c net.Conn) { p.serveConn(c, l.tls) })
		}()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
			p.stopAccepting()
		}
	}
	return first
}

// listenOn notes a listener, unless the proxy is stopping.
func (p *Proxy) listenOn(ln io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping.Load() {
		return false
	}
	p.listeners = append(p.listeners, ln)
	p.accepting.Add(1)
	return true
}

// stopAccepting closes the listeners.
func (p *Proxy) stopAccepting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping.Swap(true) {
		close(p.stopped)
	}
	for _, ln := range p.listeners {
		ln.Close()
	}
}

func (p *Proxy) accept(ln net.Listener, serve func(net.Conn)) error {
	retry := work.Retry{Log: p.log, What: "accepting a connection", First: 10 * time.Millisecond, Last: time.Second}
	for {
		select {
		case p.slots <- struct{}{}:
		case <-p.stopped:
			return nil
		}
		c, err := ln.Accept()
		if err != nil {
			<-p.slots
			if p.stopping.Load() {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() || isTemporary(err) {
				time.Sleep(retry.Failed(err)) // out of file descriptors: give connections time to end
				continue
			}
			return err
		}
		retry.Worked()
		p.stats.Accepted.Add(1)
		p.stats.Active.Add(1)
		p.wg.Add(1)
		go func() {
			defer func() {
				p.stats.Active.Add(-1)
				<-p.slots
				p.wg.Done()
			}()
			serve(c)
		}()
	}
}

// Shutdown closes the listeners, lets the exchanges in flight finish, and closes
// everything: idle connections at once, the rest when they are done or when ctx ends.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.stopAccepting()
	p.accepting.Wait()
	p.each(closer.drain)
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		p.each(closer.abort)
		<-done
	}
	p.upstreams.close()
	p.h2out.close()
	p.calls.close()
	p.closing.Do(p.workers.Close)
	return err
}

// Drain lets connections end as soon as nothing is under way on them: those that are idle now,
// and others with their next answer. New ones are taken, for one request each. Drain(false)
// lets connections go on again.
func (p *Proxy) Drain(on bool) {
	p.draining.Store(on)
	if on {
		p.each(closer.drain)
	}
}

// ending reports whether a connection ends with the exchange on it.
func (p *Proxy) ending() bool { return p.stopping.Load() || p.draining.Load() }

func (p *Proxy) each(f func(closer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		f(c)
	}
}

func (p *Proxy) track(c closer) {
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	if p.stopping.Load() {
		c.drain()
	}
}

func (p *Proxy) untrack(c closer) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}
