package gateway

import (
	"net/netip"
	"strconv"
	"strings"
)

// Forwarded is what a trusted peer's X-Forwarded-* headers say of the request it passed
// on. A member is empty where the peer did not say it or is not trusted.
type Forwarded struct{ Proto, Host, Port, Path, Prefix string }

// Client returns the address of the client: of the connection's peer, unless a peer that is
// trusted has told another. The port is 0 where it is not known.
func (x *Exchange) Client() netip.AddrPort {
	if x.client.IsValid() {
		return x.client
	}
	return x.Conn.Peer
}

// ClientIP returns the client's IP address as text.
func (x *Exchange) ClientIP() string {
	if x.client.IsValid() {
		return x.clientIP
	}
	return x.Conn.PeerIP
}

// SetClient is for the engine: a trusted peer has told the client's address, with its text.
func (x *Exchange) SetClient(a netip.AddrPort, text string) { x.client, x.clientIP = a, text }

// ForwardedProto returns the protocol that the client spoke, as far as is known.
func (x *Exchange) ForwardedProto() string {
	if p := x.Request.Forwarded.Proto; p != "" {
		return p
	}
	return x.Request.Scheme
}

// ForwardedHost returns the host that the client named, as far as is known.
func (x *Exchange) ForwardedHost() string {
	if h := x.Request.Forwarded.Host; h != "" {
		return h
	}
	return x.Request.Host
}

// ForwardedAuthority returns the host that the client named with its port. The port that the
// protocol has by default is left out.
func (x *Exchange) ForwardedAuthority() string {
	f := &x.Request.Forwarded
	authority := x.Request.Authority
	if f.Host != "" {
		authority = f.Host
	}
	host, port := splitAuthority(authority)
	if p, err := strconv.ParseUint(f.Port, 10, 16); err == nil {
		port = int(p)
	}
	byDefault := 80
	if x.clientSecure() {
		byDefault = 443
	}
	if port == 0 || port == byDefault {
		return host
	}
	return host + ":" + strconv.Itoa(port)
}

// clientSecure reports whether the client spoke TLS, as far as is known.
func (x *Exchange) clientSecure() bool { return strings.EqualFold(x.ForwardedProto(), "https") }
