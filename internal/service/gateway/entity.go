package gateway

import (
	"crypto/tls"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway/expression"
)

// Protocol is one of the protocols a route answers and a service speaks.
type Protocol uint8

// The protocols served.
const (
	HTTP Protocol = 1 << iota
	HTTPS
	GRPC
	GRPCS
	TCP
	TLS
	UDP
	TLSPassthrough
)

// overHTTP and overStream are the protocols of the two kinds of listener.
const (
	overHTTP   = HTTP | HTTPS | GRPC | GRPCS
	overStream = TCP | TLS | UDP | TLSPassthrough
)

var protocolByName = map[string]Protocol{
	"http": HTTP, "https": HTTPS, "grpc": GRPC, "grpcs": GRPCS, "tcp": TCP, "tls": TLS, "udp": UDP, "tls_passthrough": TLSPassthrough,
}

// Service is an upstream as the data plane uses it: a compiled, immutable view of the
// stored entity.
type Service struct {
	ID       string
	Name     string
	Protocol Protocol // exactly one
	Host     string
	Port     int
	Path     string // "" or a path that starts with a slash
	Tags     []string
	Enabled  bool

	Retries        int // further attempts after the first
	ConnectTimeout time.Duration
	ReadTimeout    time.Duration // between two reads, not for the whole answer
	WriteTimeout   time.Duration // between two writes

	// TLSConfig is how TLS is spoken to the upstream, without ServerName and NextProtos; nil
	// for clear text. Connections may be used for one another only where it is the same one.
	TLSConfig *tls.Config

	// Authority is host:port, and HostHeader what the Host header says where the route
	// does not preserve the client's: the host, and the port where it is not the
	// protocol's own.
	Authority  string
	HostHeader string
	ip         netip.AddrPort // where Host is an IP address

	doc *document
}

// TLS reports whether the service is spoken to over TLS.
func (s *Service) TLS() bool { return s.Protocol&(HTTPS|GRPCS|TLS) != 0 }

// GRPC reports whether the service is spoken to in HTTP/2 as gRPC.
func (s *Service) GRPC() bool { return s.Protocol&(GRPC|GRPCS) != 0 }

// address derives what follows from Host, Port and Protocol.
func (s *Service) address() {
	host := bracket(s.Host)
	s.Authority = host + ":" + strconv.Itoa(s.Port)
	s.HostHeader = s.Authority
	if s.TLS() && s.Port == 443 || !s.TLS() && s.Port == 80 {
		s.HostHeader = host
	}
	s.ip = netip.AddrPort{}
	if a, err := netip.ParseAddr(strings.Trim(s.Host, "[]")); err == nil {
		s.ip = netip.AddrPortFrom(a.Unmap(), uint16(s.Port))
	}
}

// Route is a compiled, immutable view of the stored entity.
type Route struct {
	ID        string
	Name      string
	Protocols Protocol // set
	Tags      []string
	Service   *Service // nil where the route has none

	StripPath         bool
	PreserveHost      bool
	RedirectStatus    int // for plain HTTP on a route of HTTPS alone
	RequestBuffering  bool
	ResponseBuffering bool

	methods       []string
	hosts         []hostRule
	paths         []pathRule
	headers       []headerRule
	snis          []hostRule
	sources       []endRule
	destinations  []endRule
	expression    *expression.Expression // in place of all these; nil: there is none
	priority      int64                  // of the expression
	pathV1        bool                   // path_handling v1 is in force
	regexPriority int
	createdAt     int64
	slot          int // its number among the routes of a snapshot
	doc           *document
}

// hostRule is one entry of hosts or snis: exact, or with a wildcard as its first or last
// label. text is in lower case and without the asterisk. port 0 stands for any.
type hostRule struct {
	kind hostKind
	text string
	port int
}

type hostKind uint8

const (
	hostExact  hostKind = iota
	hostSuffix          // *.example.com: text is ".example.com"
	hostPrefix          // example.*: text is "example."
)

func (h hostRule) match(host string, port int) bool {
	if h.port != 0 && h.port != port {
		return false
	}
	switch h.kind {
	case hostSuffix:
		return len(host) >= len(h.text) && host[len(host)-len(h.text):] == h.text
	case hostPrefix:
		return len(host) >= len(h.text) && host[:len(h.text)] == h.text
	default:
		return host == h.text
	}
}

// pathRule is one entry of paths: a plain prefix, or a regular expression anchored at
// its start.
type pathRule struct {
	prefix string
	regex  *regexp.Regexp // nil for a prefix
}

// headerRule is one entry of headers: any of the values or regular expressions must match
// one line of that name.
type headerRule struct {
	name    string
	values  []string // lower case
	regexes []*regexp.Regexp
}

// endRule is one entry of sources or destinations. A network that is not valid stands for
// any address, port 0 for any port.
type endRule struct {
	network netip.Prefix
	port    uint16
}

func (r endRule) match(a netip.AddrPort) bool {
	return (r.port == 0 || r.port == a.Port()) && (!r.network.IsValid() || r.network.Contains(a.Addr()))
}

func matchEnd(rules []endRule, a netip.AddrPort) bool {
	return len(rules) == 0 || slices.ContainsFunc(rules, func(r endRule) bool { return r.match(a) })
}

// parseNetwork reads an address or a network.
func parseNetwork(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Consumer is a compiled view of a consumer.
type Consumer struct {
	ID       string
	Username string
	CustomID string
	Tags     []string
	// CreatedAt and UpdatedAt are seconds since 1970.
	CreatedAt, UpdatedAt int64
}

// Credential is what an authentication plugin found: the identity of a stored
// credential, without its secret.
type Credential struct {
	ID         string
	ConsumerID string
	// Identifier is what X-Credential-Identifier tells the upstream; empty for kinds
	// of credential that are nothing but a secret.
	Identifier string
}
