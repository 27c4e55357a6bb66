package node

import (
	"context"
	"net"
	"slices"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/base/config"
)

// streamFlags may follow an address of gate.stream_listen. The last ones are about nginx's
// sockets, and say nothing here.
var streamFlags = []string{"ssl", "udp", "proxy_protocol", "reuseport", "deferred", "bind"}

// streamListens reads gate.stream_listen.
func (c *Config) streamListens() ([]address, error) {
	all, err := addresses(c.Gate.StreamListen)
	if err != nil {
		return nil, config.Invalid.Field("gate.stream_listen", "gate.stream_listen: %s", err)
	}
	for _, a := range all {
		for _, flag := range a.flags {
			if !slices.Contains(streamFlags, flag) {
				return nil, config.Invalid.Field("gate.stream_listen", "gate.stream_listen: %q is not one of %v", flag, streamFlags)
			}
		}
		if a.has("udp") && (a.has("ssl") || a.has("proxy_protocol")) {
			return nil, config.Invalid.Field("gate.stream_listen", "gate.stream_listen: a listener of udp has neither ssl nor proxy_protocol")
		}
	}
	return all, nil
}

// flows are the sockets of connections and datagrams that are passed on as they are.
type flows struct {
	tcp []proxy.StreamListener
	udp []*net.UDPConn
}

func (f *flows) listen(c *Config) error {
	all, err := c.streamListens()
	if err != nil {
		return err
	}
	for _, a := range all {
		at := net.JoinHostPort(a.host, a.port)
		if a.has("udp") {
			conn, err := net.ListenPacket("udp", at)
			if err != nil {
				return listenError("gate.stream_listen", at, err)
			}
			f.udp = append(f.udp, conn.(*net.UDPConn))
			continue
		}
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return listenError("gate.stream_listen", at, err)
		}
		f.tcp = append(f.tcp, proxy.StreamListener{Listener: ln, TLS: a.has("ssl"), ProxyProtocol: a.has("proxy_protocol")})
	}
	return nil
}

// serve starts every listener.
func (f *flows) serve(ctx context.Context, p *proxy.Proxy, start func(name string, run func() error)) {
	for _, l := range f.tcp {
		start("gateway, streams", func() error { return p.ServeStream(ctx, l) })
	}
	for _, conn := range f.udp {
		start("gateway, datagrams", func() error { return p.ServeUDP(ctx, conn) })
	}
}

func (f *flows) close() {
	for _, l := range f.tcp {
		_ = l.Close() // closed already when the servers have stopped
	}
	for _, conn := range f.udp {
		_ = conn.Close() // as above
	}
}
