package balancer

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
)

// ErrNoPeer says that no address of an upstream takes requests.
var ErrNoPeer = errors.New("balancer: no address of the upstream takes requests")

// Config describes an upstream. It must not be changed after it was given away.
type Config struct {
	Name       string
	Algorithm  Algorithm
	Slots      int
	HostHeader string // instead of the targets' names; "" for those
	UseSRVName bool
	Targets    []Target
	Checks     Checks
}

// Target is a host and port with its share of the traffic.
type Target struct {
	Name   string // "host:port", unique in the upstream
	Host   string
	Port   int
	Weight int // 0: takes no traffic
}

// Deps is what an upstream needs from others.
type Deps struct {
	Resolver Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	Prober   Prober // nil: probes over the network
}

// Upstream spreads requests over its targets. It is safe for any number of callers.
type Upstream struct {
	deps  Deps
	table atomic.Pointer[table]

	mu      sync.Mutex
	targets []*target
	pending chan struct{} // closed when every target has been resolved once
	waiting bool          // pending is open
	closed  bool
	stop    context.CancelFunc
	ctx     context.Context
	wake    chan struct{} // for the loop that resolves
	reprobe chan struct{} // for the loop that probes
	running struct{ resolve, probe bool }
	loops   sync.WaitGroup
}

// target is a Target with what is known of it.
type target struct {
	Target
	records   []Record
	until     time.Time // when records run out; zero: never
	err       error     // of the last resolution
	asked     bool
	addresses []*Address
}

// table is what Pick looks at. It never changes.
type table struct {
	cfg       *Config
	picker    picker
	ring      *ring // kept while the addresses stay the same
	addresses []*Address
	healthy   bool
	pending   chan struct{} // what to wait for where there are no addresses; nil: nothing
}

// New returns an upstream. Close ends its goroutines.
func New(c *Config, d Deps) *Upstream {
	if d.Prober == nil {
		d.Prober = network{}
	}
	u := &Upstream{deps: d, wake: make(chan struct{}, 1), reprobe: make(chan struct{}, 1)}
	u.ctx, u.stop = context.WithCancel(context.Background())
	u.Update(c)
	return u
}

// Config returns the description in force.
func (u *Upstream) Config() *Config { return u.table.Load().cfg }

// Update puts another description in force. What both have in common keeps its state.
func (u *Upstream) Update(c *Config) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	old := map[string]*target{}
	off := u.table.Load() != nil && u.Config().Checks.On() && !c.Checks.On()
	for _, t := range u.targets {
		old[t.Name] = t
		for _, a := range t.addresses {
			if off { // nothing is left that would bring it back
				a.restore(true)
			}
		}
	}
	u.targets = make([]*target, len(c.Targets))
	names := false
	for i, ct := range c.Targets {
		t := &target{Target: ct}
		if o := old[ct.Name]; o != nil {
			t.records, t.until, t.err, t.asked, t.addresses = o.records, o.until, o.err, o.asked, o.addresses
		}
		if a, err := netip.ParseAddr(ct.Host); err == nil {
			t.records, t.asked = []Record{{Addr: a}}, true
		} else {
			names = true
		}
		u.targets[i] = t
	}
	if !u.waiting && slices.ContainsFunc(u.targets, func(t *target) bool { return !t.asked }) {
		u.pending, u.waiting = make(chan struct{}), true
	}
	u.tabulate(c)
	if names && !u.running.resolve {
		u.running.resolve = true
		u.loops.Go(u.resolveLoop)
	}
	if c.Checks.probes() && !u.running.probe {
		u.running.probe = true
		u.loops.Go(u.probeLoop)
	}
	poke(u.wake)
	poke(u.reprobe)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tabulate makes the addresses of the targets, and a table of them. It is called under mu.
func (u *Upstream) tabulate(c *Config) {
	known := map[addressKey]*Address{}
	for _, t := range u.targets {
		for _, a := range t.addresses {
			known[a.reference] = a
		}
	}
	var all []*Address
	for _, t := range u.targets {
		addresses := make([]*Address, 0, len(t.records))
		for _, r := range t.records {
			port, weight := t.Port, t.Weight
			if r.Port != 0 {
				port = int(r.Port)
				if weight > 0 {
					weight = max(int(r.Weight), 1)
				}
			}
			key := addressKey{t.Name, netip.AddrPortFrom(r.Addr.Unmap(), uint16(port))}
			if slices.ContainsFunc(addresses, func(a *Address) bool { return a.reference == key }) {
				continue
			}
			name := t.Host
			if c.UseSRVName && r.Name != "" {
				name = r.Name
			}
			a := &Address{Addr: key.addr, Weight: weight, upstream: u, reference: key}
			a.name(name, c.HostHeader)
			switch old := known[key]; {
			case old == nil:
				a.up.Store(true)
			case old.Weight == a.Weight && old.plain == a.plain && old.Name == a.Name:
				a = old
			default:
				a.up.Store(old.Healthy())
				old.counts.mu.Lock()
				a.counts.n = old.counts.n
				a.counts.some.Store(a.counts.n != [4]int{})
				old.counts.mu.Unlock()
				old.latency.mu.Lock()
				a.latency.value, a.latency.at = old.latency.value, old.latency.at
				old.latency.mu.Unlock()
			}
			addresses = append(addresses, a)
		}
		t.addresses = addresses
		if t.Weight > 0 {
			all = append(all, addresses...)
		}
	}
	u.install(c, all)
}

// retable makes a new table of the same addresses, after their health has changed. It is
// called under mu.
func (u *Upstream) retable() {
	t := u.table.Load()
	u.install(t.cfg, t.addresses)
}

func (u *Upstream) install(c *Config, all []*Address) {
	old := u.table.Load()
	t := &table{cfg: c, addresses: all}
	if u.waiting {
		t.pending = u.pending
	}
	total, available := 0, 0
	healthy := make([]*Address, 0, len(all))
	for _, a := range all {
		total += a.Weight
		if a.Healthy() {
			available += a.Weight
			healthy = append(healthy, a)
		}
	}
	t.healthy = available > 0 && float64(available)*100 >= c.Checks.Threshold*float64(total)
	switch c.Algorithm {
	case ConsistentHashing:
		if old != nil && old.ring != nil && len(old.ring.slots) == c.Slots && slices.Equal(old.addresses, all) {
			t.ring = old.ring
		} else {
			t.ring = newRing(all, max(c.Slots, 1))
		}
		t.picker = t.ring
	case LeastConnections:
		t.picker = &leastConnections{addresses: healthy}
	case Latency:
		t.picker = &latency{healthy, u.deps.Clock.Now}
	default:
		t.picker = newRoundRobin(healthy)
	}
	u.table.Store(t)
}

// Pick chooses an address for a request, one that was not tried yet if there is any. It
// waits only where no target has ever been resolved. ErrNoPeer says that there is none.
func (u *Upstream) Pick(ctx context.Context, hash uint64, tried []netip.AddrPort) (*Address, error) {
	t := u.table.Load()
	if len(t.addresses) == 0 && t.pending != nil {
		select {
		case <-t.pending:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		t = u.table.Load()
	}
	if !t.healthy {
		return nil, ErrNoPeer
	}
	a := t.picker.pick(hash, tried)
	if a == nil {
		return nil, ErrNoPeer
	}
	return a, nil
}

// Close ends the upstream's goroutines and waits for them. Requests that still hold the
// upstream are served from its last table.
func (u *Upstream) Close() {
	u.mu.Lock()
	u.closed = true
	if u.waiting {
		u.waiting = false
		close(u.pending)
	}
	u.mu.Unlock()
	u.stop()
	u.loops.Wait()
}

// resolveLoop keeps the addresses of named targets up to date.
func (u *Upstream) resolveLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-u.wake:
		case <-timer.C:
		}
		timer.Reset(u.resolveDue())
	}
}

// retryResolve is when a name is asked for again that could not be resolved, and the least
// time between two questions for a name.
const retryResolve = time.Second

// resolveDue resolves the targets whose time has come and returns the time to the next.
func (u *Upstream) resolveDue() time.Duration {
	now := u.deps.Clock.Now()
	var due []string
	u.mu.Lock()
	for _, t := range u.targets {
		if !t.until.IsZero() && !t.until.After(now) || !t.asked {
			due = append(due, t.Host)
		}
	}
	u.mu.Unlock()
	answers := map[string]Answer{}
	errs := map[string]error{}
	slices.Sort(due)
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, host := range slices.Compact(due) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			answer, err := u.deps.Resolver.Refresh(u.ctx, host)
			mu.Lock()
			defer mu.Unlock()
			answers[host], errs[host] = answer, err
		})
	}
	wg.Wait()
	if u.ctx.Err() != nil {
		return time.Hour
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now = u.deps.Clock.Now()
	changed, next := false, time.Hour
	for _, t := range u.targets {
		if answer, ok := answers[t.Host]; ok {
			if err := errs[t.Host]; err != nil {
				if t.err == nil {
					u.deps.Log.Warn("a target's name cannot be resolved", "upstream", u.Config().Name, "target", t.Name, "err", err)
				}
				answer.Until = now.Add(retryResolve)
			}
			t.err = errs[t.Host]
			changed = changed || !slices.Equal(t.records, answer.Records) || !t.asked
			t.records, t.asked = answer.Records, true
			t.until = answer.Until
			if least := now.Add(retryResolve); t.until.Before(least) {
				t.until = least
			}
		}
		if !t.until.IsZero() {
			next = min(next, max(t.until.Sub(now), 0))
		}
		if !t.asked {
			next = 0
		}
	}
	if u.waiting && !slices.ContainsFunc(u.targets, func(t *target) bool { return !t.asked }) {
		u.waiting, changed = false, true
		defer close(u.pending)
	}
	if changed {
		u.tabulate(u.Config())
		poke(u.reprobe)
	}
	return next
}
