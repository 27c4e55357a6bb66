package balancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"sluice.dev/sluice/internal/base/clock"
)

// ErrName says that a name could not be resolved.
var ErrName = errors.New("name resolution failed")

// Record is one address that a name stands for.
type Record struct {
	Addr   netip.Addr
	Port   uint16 // of an SRV record; 0: whatever was asked for
	Weight uint16 // of an SRV record
	Name   string // in an SRV record
}

// Answer is what a name stands for until a moment.
type Answer struct {
	Records []Record // must not be changed
	Until   time.Time
}

// Resolver turns names into addresses.
type Resolver interface {
	// Lookup answers from memory where it can, if need be with what was true a while ago.
	Lookup(ctx context.Context, name string) (Answer, error)
	// Refresh asks again unless the answer at hand still holds.
	Refresh(ctx context.Context, name string) (Answer, error)
}

// DNSConfig says whom to ask. The zero value means what the system is configured for.
type DNSConfig struct {
	Servers    []string // host:port; none: those of ResolvConf
	ResolvConf string   // /etc/resolv.conf
	Hosts      string   // /etc/hosts
	Timeout    time.Duration
	// Stale is how long an answer serves beyond its time where no new one can be had, 1 h;
	// NotFound how long an answer that there is nothing holds, 30 s; Error an error, 1 s.
	Stale, NotFound, Error time.Duration
	MaxNames               int // remembered, 10000
	Clock                  clock.Clock
}

func (c DNSConfig) withDefaults() DNSConfig {
	c.ResolvConf = cmp.Or(c.ResolvConf, "/etc/resolv.conf")
	c.Hosts = cmp.Or(c.Hosts, "/etc/hosts")
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	c.Stale = cmp.Or(c.Stale, time.Hour)
	c.NotFound = cmp.Or(c.NotFound, 30*time.Second)
	c.Error = cmp.Or(c.Error, time.Second)
	c.MaxNames = cmp.Or(c.MaxNames, 10_000)
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	return c
}

// DNS is a Resolver that asks DNS servers, after the hosts file. It keeps no goroutine.
type DNS struct {
	cfg    DNSConfig
	system dns.ClientConfig
	hosts  hostsFile
	flight singleflight.Group
	slots  chan struct{} // bounds the questions asked at a time

	mu    sync.RWMutex
	names map[string]*entry
}

// entry is what is remembered of a name.
type entry struct {
	answer     Answer
	err        error
	until      time.Time // when to ask again
	stale      time.Time // when answer may serve no longer
	refreshing atomic.Bool
}

// NewDNS returns a resolver. A system without DNS servers resolves what its hosts file has.
func NewDNS(c DNSConfig) *DNS {
	c = c.withDefaults()
	d := &DNS{cfg: c, names: map[string]*entry{}, slots: make(chan struct{}, 64)}
	d.hosts.path = c.Hosts
	if system, err := dns.ClientConfigFromFile(c.ResolvConf); err == nil {
		d.system = *system
	}
	d.system.Ndots = max(d.system.Ndots, 1)
	if len(c.Servers) > 0 {
		d.system.Servers = c.Servers
	} else {
		for i, s := range d.system.Servers {
			d.system.Servers[i] = net.JoinHostPort(s, cmp.Or(d.system.Port, "53"))
		}
	}
	return d
}

// known is what is remembered of a name, nil for nothing.
func (d *DNS) known(name string) *entry {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.names[name]
}

// Lookup implements Resolver.
func (d *DNS) Lookup(ctx context.Context, name string) (Answer, error) {
	now := d.cfg.Clock.Now()
	if records := d.hosts.lookup(name, now); records != nil {
		return Answer{records, now.Add(hostsCheck)}, nil
	}
	e := d.known(name)
	switch {
	case e == nil:
	case now.Before(e.until):
		return e.answer, e.err
	case e.err == nil && now.Before(e.stale):
		if !e.refreshing.Swap(true) {
			name := strings.Clone(name)
			go func() {
				defer e.refreshing.Store(false)
				d.ask(context.Background(), name)
			}()
		}
		return e.answer, nil
	}
	return d.ask(ctx, strings.Clone(name))
}

// Refresh implements Resolver.
func (d *DNS) Refresh(ctx context.Context, name string) (Answer, error) {
	now := d.cfg.Clock.Now()
	if records := d.hosts.lookup(name, now); records != nil {
		return Answer{records, now.Add(hostsCheck)}, nil
	}
	e := d.known(name)
	if e != nil && now.Before(e.until) {
		return e.answer, e.err
	}
	return d.ask(ctx, name)
}

// ask resolves a name, once for all who ask at the same time, and remembers the answer.
func (d *DNS) ask(ctx context.Context, name string) (Answer, error) {
	done := d.flight.DoChan(name, func() (any, error) {
		// Who looked just before the last flight's answer was remembered comes too late for it.
		e := d.known(name)
		if e != nil && d.cfg.Clock.Now().Before(e.until) {
			return e.answer, e.err
		}
		d.slots <- struct{}{}
		defer func() { <-d.slots }()
		ctx, cancel := context.WithTimeout(context.Background(), 3*d.cfg.Timeout)
		defer cancel()
		records, ttl, err := d.resolve(ctx, name, 0)
		e = d.remember(name, records, ttl, err)
		return e.answer, e.err
	})
	select {
	case r := <-done:
		return r.Val.(Answer), r.Err
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
}

func (d *DNS) remember(name string, records []Record, ttl time.Duration, err error) *entry {
	now := d.cfg.Clock.Now()
	e := &entry{err: err}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.names[name]
	switch {
	case err == nil:
		e.until = now.Add(max(ttl, time.Second))
		e.stale = e.until.Add(d.cfg.Stale)
		e.answer = Answer{records, e.until}
	case errors.Is(err, errNothing):
		e.until = now.Add(d.cfg.NotFound)
	case old != nil && old.err == nil && now.Before(old.stale):
		e.until, e.stale, e.err = now.Add(d.cfg.Error), old.stale, nil
		e.answer = Answer{old.answer.Records, e.until}
	default:
		e.until = now.Add(d.cfg.Error)
	}
	if old == nil && len(d.names) >= d.cfg.MaxNames {
		for victim := range d.names { // any: the order of a map is random
			delete(d.names, victim)
			break
		}
	}
	d.names[name] = e
	return e
}

// errNothing says that the servers know of no address.
var errNothing = fmt.Errorf("%w: there is no such name, or it has no address", ErrName)

// maxDepth bounds how far SRV records are followed.
const maxDepth = 3

// resolve asks for SRV, A and AAAA records, of the name and with the search domains, and
// takes the first kind there is, in this order.
func (d *DNS) resolve(ctx context.Context, name string, depth int) ([]Record, time.Duration, error) {
	if len(d.system.Servers) == 0 {
		return nil, 0, fmt.Errorf("%w: no DNS server is configured", ErrName)
	}
	err := error(errNothing)
	for _, fqdn := range d.system.NameList(name) {
		var answers [3]*dns.Msg
		var errs [3]error
		var wg sync.WaitGroup
		for i, kind := range []uint16{dns.TypeSRV, dns.TypeA, dns.TypeAAAA} {
			wg.Go(func() { answers[i], errs[i] = d.exchange(ctx, fqdn, kind) })
		}
		wg.Wait()
		if m := answers[0]; m != nil && depth < maxDepth {
			if records, ttl := d.services(ctx, m, depth); len(records) > 0 {
				return records, ttl, nil
			}
		}
		for _, m := range answers[1:] {
			if records, ttl := addresses(m); len(records) > 0 {
				return records, ttl, nil
			}
		}
		if failed := cmp.Or(errs[1], errs[2]); failed != nil {
			err = fmt.Errorf("%w: %w", ErrName, failed)
		}
	}
	return nil, 0, err
}

// addresses are the A or AAAA records of an answer.
func addresses(m *dns.Msg) (records []Record, ttl time.Duration) {
	if m == nil {
		return nil, 0
	}
	ttl = maxTTL
	for _, rr := range m.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		case *dns.CNAME:
		default:
			continue
		}
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
		if a, ok := netip.AddrFromSlice(ip); ok {
			records = append(records, Record{Addr: a.Unmap()})
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return a.Addr.Compare(b.Addr) })
	return records, ttl
}

// maxTTL bounds how long an answer is believed, whatever it says.
const maxTTL = 24 * time.Hour

// maxServices bounds how many SRV records of an answer are followed.
const maxServices = 256

// services are the SRV records of the best priority in an answer, with their addresses.
func (d *DNS) services(ctx context.Context, m *dns.Msg, depth int) (records []Record, ttl time.Duration) {
	var found []*dns.SRV
	for _, rr := range m.Answer {
		if s, ok := rr.(*dns.SRV); ok && s.Target != "." && s.Port != 0 && len(found) < maxServices {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b *dns.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	ttl = maxTTL
	for _, s := range found {
		if s.Priority != found[0].Priority {
			break
		}
		name := strings.TrimSuffix(s.Target, ".")
		var at []Record
		least := maxTTL
		for _, extra := range m.Extra { // the server may have sent them along
			if strings.EqualFold(extra.Header().Name, s.Target) {
				more, t := addresses(&dns.Msg{Answer: []dns.RR{extra}})
				at, least = append(at, more...), min(least, t)
			}
		}
		if a, err := netip.ParseAddr(name); err == nil {
			at = []Record{{Addr: a}}
		} else if len(at) == 0 {
			more, t, err := d.resolve(ctx, s.Target, maxDepth) // SRV records do not point at SRV records
			if err != nil {
				continue
			}
			at, least = more, t
		}
		ttl = min(ttl, least, time.Duration(s.Hdr.Ttl)*time.Second)
		for _, a := range at {
			records = append(records, Record{Addr: a.Addr, Port: s.Port, Weight: s.Weight, Name: name})
		}
	}
	return records, ttl
}

// exchange asks the servers in turn, beginning with any, and over TCP where the answer
// does not fit. A name that does not exist is an answer without records.
func (d *DNS) exchange(ctx context.Context, fqdn string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(fqdn), kind)
	q.SetEdns0(1232, false)
	var last error
	start := rand.IntN(len(d.system.Servers))
	for i := range max(len(d.system.Servers), 2) {
		server := d.system.Servers[(start+i)%len(d.system.Servers)]
		for _, transport := range []string{"udp", "tcp"} {
			c := dns.Client{Net: transport, Timeout: d.cfg.Timeout}
			m, _, err := c.ExchangeContext(ctx, q, server)
			if err != nil {
				last = err
				break
			}
			if m.Truncated && transport == "udp" {
				continue
			}
			if m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
				return m, nil
			}
			last = fmt.Errorf("the server %s answered %s", server, dns.RcodeToString[m.Rcode])
			break
		}
		if ctx.Err() != nil {
			return nil, cmp.Or(last, ctx.Err())
		}
	}
	return nil, last
}
