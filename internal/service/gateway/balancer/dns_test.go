package balancer_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sluice.dev/sluice/internal/service/gateway/balancer"
)

// zone is a DNS server on loopback, over UDP and TCP.
type zone struct {
	addr  string
	mu    sync.Mutex
	rrs   map[string][]string // "name TYPE" → records
	rcode int
	mute  bool
	large bool // answers over UDP do not fit
	asked atomic.Int64
}

func newZone(t testing.TB) *zone {
	t.Helper()
	z := &zone{rrs: map[string][]string{}}
	var pc net.PacketConn
	var ln net.Listener
	for try := 0; ln == nil; try++ { // until a port is free for both
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err != nil {
			pc.Close()
			if try == 50 {
				t.Fatal(err)
			}
		}
	}
	z.addr = pc.LocalAddr().String()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: z}, {Listener: ln, Handler: z}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return z
}

func (z *zone) set(key string, records ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rrs[key] = records
}

func (z *zone) fail(rcode int, mute bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode, z.mute = rcode, mute
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked.Add(1)
	if z.mute {
		return
	}
	m := new(dns.Msg)
	m.SetReply(q)
	if m.Rcode = z.rcode; m.Rcode == 0 {
		name := strings.ToLower(q.Question[0].Name)
		key := strings.TrimSuffix(name, ".") + " " + dns.TypeToString[q.Question[0].Qtype]
		for _, text := range z.rrs[key] {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		if z.large && w.LocalAddr().Network() == "udp" {
			m.Answer, m.Truncated = nil, true
		}
	}
	w.WriteMsg(m)
}

// hands is a clock that tests move.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) Now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.at }
func (h *hands) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

func newDNS(t testing.TB, z *zone, hosts string) (*balancer.DNS, *hands) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte(hosts), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &hands{at: time.Unix(1_700_000_000, 0)}
	return balancer.NewDNS(balancer.DNSConfig{
		Servers: []string{z.addr}, ResolvConf: filepath.Join(t.TempDir(), "none"), Hosts: file, Timeout: 200 * time.Millisecond, Clock: h,
	}), h
}

func show(a balancer.Answer) string {
	var out []string
	for _, r := range a.Records {
		if r.Port != 0 {
			out = append(out, fmt.Sprintf("%v*%d(%s)", netip.AddrPortFrom(r.Addr, r.Port), r.Weight, r.Name))
		} else {
			out = append(out, r.Addr.String())
		}
	}
	return strings.Join(out, " ")
}

func TestDNSRecords(t *testing.T) {
	z := newZone(t)
	z.set("web A", "web. 60 IN A 10.0.0.2", "web. 30 IN A 10.0.0.1")
	z.set("six AAAA", "six. 60 IN AAAA fd00::1")
	z.set("alias A", "alias. 5 IN CNAME web.", "web. 60 IN A 10.0.0.3")
	z.set("svc SRV", "svc. 60 IN SRV 1 30 8001 web.", "svc. 60 IN SRV 1 10 8002 six.", "svc. 60 IN SRV 2 1 9 web.")
	z.set("svc A", "svc. 60 IN A 10.9.9.9")
	z.set("hollow SRV", "hollow. 60 IN SRV 1 1 1 nowhere.")
	z.set("hollow A", "hollow. 60 IN A 10.0.0.4")
	d, clock := newDNS(t, z, "10.8.8.8 box Box.Local # here\nfd00::8 box\nnonsense\n")
	for name, want := range map[string]struct {
		records string
		ttl     time.Duration
	}{
		"web":   {"10.0.0.1 10.0.0.2", 30 * time.Second},
		"six":   {"fd00::1", time.Minute},
		"alias": {"10.0.0.3", 5 * time.Second},
		// web has two addresses, each with the weight of the record
		"svc":       {"[fd00::1]:8002*10(six) 10.0.0.1:8001*30(web) 10.0.0.2:8001*30(web)", 30 * time.Second},
		"hollow":    {"10.0.0.4", time.Minute},
		"box":       {"10.8.8.8", 5 * time.Second},
		"box.local": {"10.8.8.8", 5 * time.Second},
		"localhost": {"127.0.0.1", 5 * time.Second},
	} {
		a, err := d.Lookup(t.Context(), name)
		got := show(a)
		if err != nil || got != want.records || a.Until.Sub(clock.Now()) != want.ttl {
			t.Errorf("%s: %q for %v, %v; want %q for %v", name, got, a.Until.Sub(clock.Now()), err, want.records, want.ttl)
		}
	}
	if _, err := d.Lookup(t.Context(), "nothing"); !errors.Is(err, balancer.ErrName) {
		t.Errorf("nothing: %v", err)
	}
}

func TestDNSMemory(t *testing.T) {
	z := newZone(t)
	z.set("web A", "web. 10 IN A 10.0.0.1")
	d, clock := newDNS(t, z, "")
	look := func(want string) {
		t.Helper()
		a, err := d.Lookup(t.Context(), "web")
		if got := show(a); got != want || (want == "") != (err != nil) {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	until := func(want string) { // an answer that is fetched in the background
		t.Helper()
		for range 500 {
			if a, _ := d.Lookup(t.Context(), "web"); show(a) == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("%q never came", want)
	}
	look("10.0.0.1")
	asked := z.asked.Load()
	z.set("web A", "web. 10 IN A 10.0.0.2")
	clock.move(9 * time.Second)
	look("10.0.0.1")
	if n := z.asked.Load(); n != asked {
		t.Errorf("asked %d times within the TTL", n-asked)
	}
	clock.move(2 * time.Second)
	look("10.0.0.1") // run out, but at hand
	until("10.0.0.2")
	// A server that fails: what was true goes on for a while.
	z.fail(dns.RcodeServerFailure, false)
	clock.move(11 * time.Second)
	for range 20 {
		clock.move(2 * time.Second)
		look("10.0.0.2")
		if a, err := d.Refresh(t.Context(), "web"); err != nil || show(a) != "10.0.0.2" {
			t.Fatalf("stale: %v %v", a, err)
		}
	}
	clock.move(2 * time.Hour)
	look("")
	z.fail(0, false)
	clock.move(2 * time.Second)
	look("10.0.0.2")
	// That a name is gone is an answer, and is remembered.
	z.set("web A")
	clock.move(11 * time.Second)
	if _, err := d.Refresh(t.Context(), "web"); !errors.Is(err, balancer.ErrName) {
		t.Fatal(err)
	}
	asked = z.asked.Load()
	clock.move(29 * time.Second)
	look("")
	if z.asked.Load() != asked {
		t.Error("asked again for a name that is known to be gone")
	}
	z.set("web A", "web. 10 IN A 10.0.0.5")
	clock.move(2 * time.Second)
	look("10.0.0.5")
}

func TestDNSFailures(t *testing.T) {
	z := newZone(t)
	z.set("web A", "web. 10 IN A 10.0.0.1")
	d, _ := newDNS(t, z, "")
	// Everybody who asks at the same time waits for the same answer.
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if a, err := d.Lookup(t.Context(), "web"); err != nil || show(a) != "10.0.0.1" {
				t.Errorf("%v %v", a, err)
			}
		})
	}
	wg.Wait()
	if n := z.asked.Load(); n != 3 {
		t.Errorf("the server was asked %d times", n)
	}
	z.mu.Lock()
	z.large = true
	z.mu.Unlock()
	z.set("big A", "big. 10 IN A 10.0.0.7")
	if a, err := d.Lookup(t.Context(), "big"); err != nil || show(a) != "10.0.0.7" {
		t.Errorf("over TCP: %v %v", a, err)
	}
	z.fail(0, true)
	start := time.Now()
	if _, err := d.Lookup(t.Context(), "silent"); !errors.Is(err, balancer.ErrName) || time.Since(start) > 3*time.Second {
		t.Errorf("a silent server: %v after %v", err, time.Since(start))
	}
	none := balancer.NewDNS(balancer.DNSConfig{ResolvConf: filepath.Join(t.TempDir(), "none"), Hosts: filepath.Join(t.TempDir(), "none")})
	if _, err := none.Lookup(t.Context(), "web"); !errors.Is(err, balancer.ErrName) {
		t.Errorf("without a server: %v", err)
	}
	if a, err := none.Lookup(t.Context(), "localhost"); err != nil || show(a) != "127.0.0.1" {
		t.Errorf("localhost: %v %v", a, err)
	}
}
