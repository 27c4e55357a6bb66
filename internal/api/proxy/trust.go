package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"

	"sluice.dev/sluice/internal/service/gateway"
)

// Trust says whom to believe what they tell of the clients they stand before.
type Trust struct {
	Peers []netip.Prefix
	// Header tells the client's address: X-Real-IP, the default, X-Forwarded-For, another
	// one, or proxy_protocol for what the header of the PROXY protocol says.
	Header string
	// Recursive takes, of a list of addresses, the last that is no trusted peer's; otherwise
	// it is the last of all.
	Recursive bool
}

// proxyProtocol is the name of a Header that is none.
const proxyProtocol = "proxy_protocol"

// Trusts reports whether an address is of a trusted peer.
func (t *Trust) Trusts(a netip.Addr) bool {
	for _, p := range t.Peers {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// apply takes from a trusted peer's headers what they tell of the client.
func (t *Trust) apply(x *gateway.Exchange, told *source) {
	if !x.Conn.Trusted {
		return
	}
	if t.Header == proxyProtocol {
		if told.addr.IsValid() {
			x.SetClient(told.addr, told.ip)
		}
	} else if a := t.client(&x.Request.Header); a.IsValid() {
		x.SetClient(a, a.Addr().String())
	}
	f := &x.Request.Forwarded
	for _, h := range x.Request.Header.Fields() {
		if len(h.Name) < len("X-Forwarded-Y") || !gateway.EqualFold(h.Name[:len("X-Forwarded-")], "X-Forwarded-") {
			continue
		}
		for _, to := range [...]struct {
			name string
			p    *string
		}{{"Proto", &f.Proto}, {"Host", &f.Host}, {"Port", &f.Port}, {"Path", &f.Path}, {"Prefix", &f.Prefix}} {
			if *to.p == "" && gateway.EqualFold(h.Name[len("X-Forwarded-"):], to.name) {
				*to.p = h.Value
			}
		}
	}
}

// client finds the client's address, from the last that is told backwards. What reads as no
// address ends the search, and what was found before it counts.
func (t *Trust) client(h *gateway.Header) (found netip.AddrPort) {
	fields := h.Fields()
	for i := len(fields) - 1; i >= 0; i-- {
		if !gateway.EqualFold(fields[i].Name, t.Header) {
			continue
		}
		for rest := fields[i].Value; rest != ""; {
			at := strings.LastIndexByte(rest, ',')
			a, ok := parseClient(strings.TrimSpace(rest[at+1:]))
			if !ok {
				return found
			}
			if found = a; !t.Recursive || !t.Trusts(a.Addr()) {
				return found
			}
			rest = rest[:max(at, 0)]
		}
	}
	return found
}

// parseClient reads an address with or without a port.
func parseClient(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a.Unmap().WithZone(""), 0), true
	}
	a, err := netip.ParseAddrPort(s)
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()), err == nil
}

// source is the client as the PROXY protocol tells it; the zero value where it does not.
type source struct {
	addr  netip.AddrPort
	ip    string
	local netip.AddrPort // what the client connected to
}

// maxProxyHeader bounds a header of the PROXY protocol's second version with its extensions.
const maxProxyHeader = 4096

var errNoProxyHeader = errors.New("proxy: no header of the PROXY protocol")

// readSource reads the header of the PROXY protocol, version 1 or 2, that a connection
// begins with, and nothing behind it.
func readSource(c net.Conn) (source, error) {
	raw := make([]byte, 16, 256)
	if _, err := io.ReadFull(c, raw[:12]); err != nil {
		return source{}, err
	}
	switch {
	case bytes.Equal(raw[:12], proxyproto.SIGV2):
		if _, err := io.ReadFull(c, raw[12:16]); err != nil {
			return source{}, err
		}
		n := int(raw[14])<<8 | int(raw[15])
		if n > maxProxyHeader {
			return source{}, errNoProxyHeader
		}
		raw = append(raw, make([]byte, n)...)
		if _, err := io.ReadFull(c, raw[16:]); err != nil {
			return source{}, err
		}
	case string(raw[:6]) == "PROXY ":
		// Byte by byte: what follows the line belongs to whoever reads the connection next.
		for raw = raw[:12]; raw[len(raw)-1] != '\n'; {
			if len(raw) == 107 {
				return source{}, errNoProxyHeader
			}
			raw = append(raw, 0)
			if _, err := io.ReadFull(c, raw[len(raw)-1:]); err != nil {
				return source{}, err
			}
		}
	default:
		return source{}, errNoProxyHeader
	}
	return parseSource(raw)
}

func parseSource(raw []byte) (source, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), max(len(raw), 16)))
	if err != nil {
		return source{}, err
	}
	if h.Command.IsLocal() || h.SourceAddr == nil {
		return source{}, nil
	}
	s := source{addr: addrPort(h.SourceAddr), local: addrPort(h.DestinationAddr)}
	if s.addr.IsValid() {
		s.ip = s.addr.Addr().String()
	}
	return s, nil
}
