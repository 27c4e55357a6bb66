package balancer

import (
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Address is one IP address and port of a target, with its load and its health.
type Address struct {
	Addr   netip.AddrPort
	Weight int
	// Name is what the target is called there: the target's host, or with use_srv_name
	// the name in the SRV record.
	Name      string
	plain     string // Name for a Host header without TLS: with its port unless that is 80
	secure    string
	inflight  atomic.Int64
	up        atomic.Bool
	counts    counters
	latency   ewma
	upstream  *Upstream
	reference addressKey
}

// addressKey tells whether two addresses are the same one across tables.
type addressKey struct {
	target string
	addr   netip.AddrPort
}

// HostHeader is what the Host header says of the address.
func (a *Address) HostHeader(tls bool) string {
	if tls {
		return a.secure
	}
	return a.plain
}

// name sets what the address is called, and what the Host header says of it: the name, or
// what stands in for it, and the port unless it is the protocol's own or is given already.
func (a *Address) name(name, override string) {
	a.Name = name
	header := name
	if override != "" {
		header = override
		if _, _, err := net.SplitHostPort(override); err == nil {
			a.plain, a.secure = override, override
			return
		}
	}
	full := net.JoinHostPort(strings.Trim(header, "[]"), strconv.Itoa(int(a.Addr.Port())))
	bare := full[:strings.LastIndexByte(full, ':')]
	a.plain, a.secure = full, full
	switch a.Addr.Port() {
	case 80:
		a.plain = bare
	case 443:
		a.secure = bare
	}
}

// Begin counts a request that is sent to the address. Done ends it.
func (a *Address) Begin() { a.inflight.Add(1) }

// Done ends what Begin began. took is the time to the answer's head; 0 where none came.
func (a *Address) Done(took time.Duration) {
	a.inflight.Add(-1)
	if took > 0 && a.upstream.Config().Algorithm == Latency {
		a.latency.add(a.upstream.deps.Clock.Now(), took)
	}
}

// Healthy reports whether the address takes requests.
func (a *Address) Healthy() bool { return a.up.Load() }

// load is what least-connections compares: requests in flight with one more, by weight.
func (a *Address) load() float64 { return float64(a.inflight.Load()+1) / float64(a.Weight) }

// decay is how fast a latency loses its say.
const decay = 10 * time.Second

// ewma is an average of latencies in which the recent count for more.
type ewma struct {
	mu    sync.Mutex
	value float64 // seconds
	at    time.Time
}

func (e *ewma) add(now time.Time, took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at.IsZero() {
		e.value, e.at = took.Seconds(), now
		return
	}
	w := math.Exp(-max(now.Sub(e.at), 0).Seconds() / decay.Seconds())
	e.value, e.at = e.value*w+took.Seconds()*(1-w), now
}

// score is the average as it stands now: it fades, so that an address that was slow once
// is tried again.
func (e *ewma) score(now time.Time) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at.IsZero() {
		return 0
	}
	return e.value * math.Exp(-max(now.Sub(e.at), 0).Seconds()/decay.Seconds())
}
