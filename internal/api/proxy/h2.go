package proxy

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

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
