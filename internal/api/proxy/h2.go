package proxy

import (
	"net"

	"sluice.dev/sluice/internal/service/gateway"
)

type h2Upstreams struct{}

func (h *h2Upstreams) init(p *Proxy) {}
func (h *h2Upstreams) close()        {}

func (p *Proxy) serveH2(c net.Conn, meta *gateway.Conn) { c.Close() }
