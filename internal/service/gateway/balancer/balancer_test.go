package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/balancer"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// names resolves from a map.
type names struct {
	mu    sync.Mutex
	of    map[string][]balancer.Record
	ttl   time.Duration
	asked int
}

func (n *names) set(name string, records ...balancer.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of[name] = records
}

func (n *names) Lookup(_ context.Context, name string) (balancer.Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.of[name] == nil {
		return balancer.Answer{}, balancer.ErrName
	}
	return balancer.Answer{Records: n.of[name], Until: time.Now().Add(n.ttl)}, nil
}

func (n *names) Refresh(ctx context.Context, name string) (balancer.Answer, error) {
	return n.Lookup(ctx, name)
}

// scripted probes by a function.
type scripted func(a *balancer.Address) (int, error)

func (s scripted) Probe(_ context.Context, _ *balancer.Probing, a *balancer.Address) (int, error) {
	return s(a)
}

func target(i, weight int) balancer.Target {
	host := fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)
	return balancer.Target{Name: host + ":80", Host: host, Port: 80, Weight: weight}
}

func targets(weights ...int) (out []balancer.Target) {
	for i, w := range weights {
		out = append(out, target(i, w))
	}
	return out
}

func newUpstream(t testing.TB, c *balancer.Config, edits ...func(*balancer.Deps)) *balancer.Upstream {
	d := balancer.Deps{Resolver: &names{of: map[string][]balancer.Record{}}, Clock: clock.System{}, Log: quiet()}
	for _, e := range edits {
		e(&d)
	}
	if c.Slots == 0 {
		c.Slots = 10000
	}
	u := balancer.New(c, d)
	t.Cleanup(u.Close)
	return u
}

func pick(t testing.TB, u *balancer.Upstream, hash uint64, tried ...netip.AddrPort) *balancer.Address {
	t.Helper()
	a, err := u.Pick(t.Context(), hash, tried)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestRoundRobinWeights: in any window every address has its share, within one turn or 1 %.
func TestRoundRobinWeights(t *testing.T) {
	for _, weights := range [][]int{{1}, {1, 1, 1}, {100, 200, 700}, {1, 65535}, {5, 0, 5}, {3, 7, 11, 13, 17, 19, 23}} {
		u := newUpstream(t, &balancer.Config{Targets: targets(weights...)})
		total := 0
		for _, w := range weights {
			total += w
		}
		const window = 10_000
		got := map[netip.AddrPort]int{}
		for range window {
			got[pick(t, u, 0).Addr]++
		}
		for i, w := range weights {
			want := float64(window) * float64(w) / float64(total)
			n := got[netip.MustParseAddrPort(target(i, w).Name)]
			if math.Abs(float64(n)-want) > max(1, want/100) {
				t.Errorf("weights %v: address %d had %d turns, want %.0f", weights, i, n, want)
			}
		}
	}
}

func TestRetriesGoElsewhere(t *testing.T) {
	for _, algorithm := range []balancer.Algorithm{balancer.RoundRobin, balancer.ConsistentHashing, balancer.LeastConnections, balancer.Latency} {
		u := newUpstream(t, &balancer.Config{Algorithm: algorithm, Targets: targets(1, 100, 1, 1)})
		for hash := range uint64(200) {
			var tried []netip.AddrPort
			seen := map[netip.AddrPort]bool{}
			for range 4 {
				a := pick(t, u, hash*0x9e3779b97f4a7c15, tried...)
				tried = append(tried, a.Addr)
				seen[a.Addr] = true
			}
			if len(seen) != 4 {
				t.Fatalf("algorithm %d: four tries went to %v", algorithm, tried)
			}
			pick(t, u, hash, tried...) // all were tried: any will do
		}
	}
}

// TestRingMovesLittle: one address coming or going moves about its share of the keys, and
// only to it or from it.
func TestRingMovesLittle(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 3 + rng.IntN(20)
		all := make([]balancer.Target, n+1)
		for i := range all {
			all[i] = target(int(seed)*30+i, 100)
		}
		u := newUpstream(t, &balancer.Config{Algorithm: balancer.ConsistentHashing, Targets: all[:n]})
		const keys = 20_000
		before := make([]netip.AddrPort, keys)
		share := map[netip.AddrPort]int{}
		hash := func(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }
		for i := range before {
			before[i] = pick(t, u, hash(i)).Addr
			share[before[i]]++
		}
		for a, k := range share {
			if fair := keys / n; k < fair/2 || k > fair*2 {
				t.Errorf("%v has %d of %d keys among %d", a, k, keys, n)
			}
		}
		u.Update(&balancer.Config{Algorithm: balancer.ConsistentHashing, Slots: 10000, Targets: all})
		moved, added := 0, netip.MustParseAddrPort(all[n].Name)
		for i := range before {
			if now := pick(t, u, hash(i)).Addr; now != before[i] {
				moved++
				if now != added {
					t.Fatalf("a key moved from %v to %v, neither of which is new", before[i], now)
				}
			}
		}
		if fair := keys / (n + 1); moved > fair*2 {
			t.Errorf("%d of %d keys moved to one of %d addresses", moved, keys, n+1)
		}
		// An unhealthy address gives its keys away and gets them back; no other key moves.
		u.SetHealth(all[n].Name, "", false)
		for i := range before {
			if now := pick(t, u, hash(i)).Addr; now == added {
				t.Fatal("an unhealthy address was picked")
			}
		}
		u.SetHealth(all[0].Name, "", false)
		down := netip.MustParseAddrPort(all[0].Name)
		u.SetHealth(all[n].Name, "", true)
		u.Update(&balancer.Config{Algorithm: balancer.ConsistentHashing, Slots: 10000, Targets: all[:n]})
		for i := range before {
			if now := pick(t, u, hash(i)).Addr; now != before[i] && before[i] != down {
				t.Fatalf("a key moved from %v, which is healthy", before[i])
			}
		}
	}
}

func TestLeastConnections(t *testing.T) {
	u := newUpstream(t, &balancer.Config{Algorithm: balancer.LeastConnections, Targets: targets(100, 300)})
	got := map[string]int{}
	var busy []*balancer.Address
	for range 400 {
		a := pick(t, u, 0)
		a.Begin()
		busy = append(busy, a)
		got[a.Name]++
	}
	if got["10.0.0.1"] != 100 || got["10.0.0.2"] != 300 {
		t.Errorf("connections that stay open: %v", got)
	}
	for _, a := range busy {
		if a.Name == "10.0.0.1" {
			a.Done(0)
		}
	}
	if a := pick(t, u, 0); a.Name != "10.0.0.1" {
		t.Errorf("the idle address was not picked")
	}
}

func TestLatencyPrefersTheFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, &balancer.Config{Algorithm: balancer.Latency, Targets: targets(1, 1, 1)})
		slow := target(0, 1).Host
		got := map[string]int{}
		for range 3000 {
			a := pick(t, u, 0)
			got[a.Name]++
			took := 10 * time.Millisecond
			if a.Name == slow {
				took = 200 * time.Millisecond
			}
			a.Begin()
			time.Sleep(time.Millisecond)
			a.Done(took)
		}
		if got[slow] > 300 || got[slow] == 0 {
			t.Errorf("the slow address had %v", got)
		}
		u.Close()
	})
}

func checked() balancer.Checks {
	return balancer.Checks{Passive: balancer.Rules{
		Healthy: balancer.NewStatuses(200), Unhealthy: balancer.NewStatuses(500, 503),
		Successes: 2, TCPFailures: 2, Timeouts: 3, Failures: 4,
	}}
}

func TestPassiveThresholds(t *testing.T) {
	ok := func(a *balancer.Address) { a.Answered(200) }
	bad := func(a *balancer.Address) { a.Answered(503) }
	other := func(a *balancer.Address) { a.Answered(404) }
	refused := func(a *balancer.Address) { a.Failed(false) }
	late := func(a *balancer.Address) { a.Failed(true) }
	repeat := func(n int, f func(*balancer.Address)) (out []func(*balancer.Address)) {
		for range n {
			out = append(out, f)
		}
		return out
	}
	for name, c := range map[string]struct {
		reports []func(*balancer.Address)
		healthy bool
	}{
		"one refusal":               {repeat(1, refused), true},
		"two refusals":              {repeat(2, refused), false},
		"two time-outs":             {repeat(2, late), true},
		"three time-outs":           {repeat(3, late), false},
		"three bad answers":         {repeat(3, bad), true},
		"four bad answers":          {repeat(4, bad), false},
		"answers nobody speaks of":  {repeat(100, other), true},
		"each kind counts alone":    {append(repeat(3, bad), append(repeat(2, late), refused)...), true},
		"a success in between":      {append(append(repeat(3, bad), ok), repeat(3, bad)...), true},
		"one success is not enough": {append(repeat(2, refused), ok), false},
		"two successes bring back":  {append(repeat(2, refused), ok, ok), true},
		"a failure in between":      {append(repeat(2, refused), ok, bad, ok, ok), true},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, &balancer.Config{Targets: targets(1, 1), Checks: checked()})
			a := pick(t, u, 0)
			for _, report := range c.reports {
				report(a)
			}
			if a.Healthy() != c.healthy {
				t.Errorf("healthy: %v", a.Healthy())
			}
			for range 10 {
				if !c.healthy && pick(t, u, 0) == a {
					t.Fatal("an unhealthy address was picked")
				}
			}
		})
	}
	t.Run("a threshold of zero does not count", func(t *testing.T) {
		u := newUpstream(t, &balancer.Config{Targets: targets(1)})
		a := pick(t, u, 0)
		for range 1000 {
			bad(a)
			refused(a)
			late(a)
		}
		if !a.Healthy() {
			t.Error("it became unhealthy")
		}
	})
}

func TestThresholdOfTheWhole(t *testing.T) {
	c := checked()
	c.Threshold = 50
	u := newUpstream(t, &balancer.Config{Targets: targets(10, 10, 20), Checks: c})
	u.SetHealth(target(0, 0).Name, "", false)
	u.SetHealth(target(1, 0).Name, "", false)
	pick(t, u, 0) // half of the weight is there
	u.SetHealth(target(2, 0).Name, "", false)
	u.SetHealth(target(1, 0).Name, "", true)
	if _, err := u.Pick(t.Context(), 0, nil); !errors.Is(err, balancer.ErrNoPeer) {
		t.Errorf("with a quarter of the weight: %v", err)
	}
	if s := u.Status(); s.Healthy || s.Weight != (balancer.WeightStatus{Total: 40, Available: 10}) {
		t.Errorf("%+v", s)
	}
}

// TestHealthSurvivesChanges: what a change leaves in place keeps its health and counters.
func TestHealthSurvivesChanges(t *testing.T) {
	u := newUpstream(t, &balancer.Config{Targets: targets(1, 1, 1), Checks: checked()})
	u.SetHealth(target(0, 0).Name, "", false)
	var a *balancer.Address
	for a == nil || a.Name != target(1, 0).Host {
		a = pick(t, u, 0)
	}
	a.Failed(false)
	u.Update(&balancer.Config{Targets: targets(5, 7, 0, 9), Checks: checked()})
	for range 1000 {
		if p := pick(t, u, 0); p.Name == target(0, 0).Host || p.Name == target(2, 0).Host {
			t.Fatalf("%v was picked", p.Name)
		} else if p.Name == target(1, 0).Host {
			p.Failed(false) // the second, counting the one before the change
			break
		}
	}
	u.Update(&balancer.Config{Targets: targets(5, 7, 3), Checks: checked()})
	for range 1000 {
		if p := pick(t, u, 0); p.Name != target(2, 0).Host {
			t.Fatalf("%v was picked", p.Name)
		}
	}
}

// TestChecksSwitchedOff: where nothing could bring an address back, none stays away.
func TestChecksSwitchedOff(t *testing.T) {
	u := newUpstream(t, &balancer.Config{Targets: targets(1), Checks: checked()})
	a := pick(t, u, 0)
	a.Failed(false)
	a.Failed(false)
	if _, err := u.Pick(t.Context(), 0, nil); !errors.Is(err, balancer.ErrNoPeer) {
		t.Fatal(err)
	}
	u.Update(&balancer.Config{Targets: targets(1)})
	pick(t, u, 0)
}

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		down, probed := map[string]error{}, map[string]int{}
		set := func(host string, err error) {
			mu.Lock()
			defer mu.Unlock()
			down[host] = err
		}
		c := checked()
		c.Active = balancer.Probing{Rules: c.Passive, HealthyInterval: 10 * time.Second, UnhealthyInterval: 2 * time.Second,
			Timeout: time.Second, Concurrency: 2}
		u := newUpstream(t, &balancer.Config{Targets: targets(1, 1, 1), Checks: c}, func(d *balancer.Deps) {
			d.Prober = scripted(func(a *balancer.Address) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				probed[a.Name]++
				if err := down[a.Name]; err != nil {
					return 0, err
				}
				return 200, nil
			})
		})
		first := target(0, 0).Host
		healthy := func() bool { return u.Status().Targets[0].Addresses[0].Healthy }
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return probed[first]
		}
		set(first, errors.New("refused"))
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if !healthy() || count() != 1 {
			t.Fatalf("after one probe of two: healthy %v, %d probes", healthy(), count())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if healthy() {
			t.Fatal("two failed probes left it healthy")
		}
		set(first, nil)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if !healthy() {
			t.Fatal("two good probes did not bring it back")
		}
		set(first, context.DeadlineExceeded)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if healthy() {
			t.Fatal("three time-outs left it healthy")
		}
		before := count()
		u.Close()
		time.Sleep(time.Minute)
		if count() != before {
			t.Error("probes went on after the upstream was closed")
		}
	})
}

func TestNamesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := func(s string) balancer.Record { return balancer.Record{Addr: netip.MustParseAddr(s)} }
		resolver := &names{of: map[string][]balancer.Record{}, ttl: 5 * time.Second}
		resolver.set("web", a("10.1.0.1"), a("10.1.0.2"))
		u := newUpstream(t, &balancer.Config{Targets: []balancer.Target{{Name: "web:8080", Host: "web", Port: 8080, Weight: 10}}},
			func(d *balancer.Deps) { d.Resolver = resolver })
		pick(t, u, 0) // waits for the first answer
		seen := func() map[string]int {
			synctest.Wait()
			got := map[string]int{}
			for range 100 {
				if p, err := u.Pick(t.Context(), 0, nil); err == nil {
					got[p.Addr.String()]++
				}
			}
			return got
		}
		if got := seen(); got["10.1.0.1:8080"] != 50 || got["10.1.0.2:8080"] != 50 {
			t.Errorf("two addresses: %v", got)
		}
		u.SetHealth("web:8080", "10.1.0.2", false)
		resolver.set("web", a("10.1.0.2"), a("10.1.0.3"))
		time.Sleep(6 * time.Second)
		if got := seen(); got["10.1.0.3:8080"] != 100 {
			t.Errorf("the address that stayed is unhealthy still: %v", got)
		}
		resolver.set("web", balancer.Record{Addr: netip.MustParseAddr("10.1.0.4"), Port: 1, Weight: 3, Name: "s1"},
			balancer.Record{Addr: netip.MustParseAddr("10.1.0.5"), Port: 2, Weight: 1, Name: "s2"})
		time.Sleep(6 * time.Second)
		if got := seen(); got["10.1.0.4:1"] != 75 || got["10.1.0.5:2"] != 25 {
			t.Errorf("SRV: %v", got)
		}
		resolver.set("web")
		time.Sleep(6 * time.Second)
		if got := seen(); len(got) != 0 || len(u.Status().Targets[0].Addresses) != 0 {
			t.Errorf("without an answer: %v", got)
		}
		resolver.set("web", a("10.1.0.6"))
		time.Sleep(2 * time.Second)
		if got := seen(); got["10.1.0.6:8080"] != 100 {
			t.Errorf("back again: %v", got)
		}
		u.Close()
	})
}

func TestHostHeader(t *testing.T) {
	for _, c := range []struct{ host, override, plain, secure string }{
		{"web", "", "web:80", "web:80"},
		{"10.0.0.1", "", "10.0.0.1:80", "10.0.0.1:80"},
		{"::1", "", "[::1]:80", "[::1]:80"},
		{"web", "shop.example", "shop.example:80", "shop.example:80"},
		{"web", "shop.example:99", "shop.example:99", "shop.example:99"},
	} {
		for _, port := range []int{80, 443, 8000} {
			u := newUpstream(t, &balancer.Config{HostHeader: c.override, Targets: []balancer.Target{{Name: c.host, Host: c.host, Port: port, Weight: 1}}},
				func(d *balancer.Deps) {
					d.Resolver = &names{of: map[string][]balancer.Record{"web": {{Addr: netip.MustParseAddr("10.0.0.9")}}}, ttl: time.Hour}
				})
			a := pick(t, u, 0)
			for tls, text := range map[bool]string{false: c.plain, true: c.secure} {
				want := text
				if c.override != "shop.example:99" {
					want = text[:len(text)-3]
					if own := map[bool]int{false: 80, true: 443}[tls]; port != own {
						want = fmt.Sprintf("%s:%d", want, port)
					}
				}
				if got := a.HostHeader(tls); got != want {
					t.Errorf("%+v port %d tls %v: %q, want %q", c, port, tls, got, want)
				}
			}
			u.Close()
		}
	}
}

// TestPickingIsFree: no allocation, whatever the algorithm, also while others change it.
func TestPickingIsFree(t *testing.T) {
	for _, algorithm := range []balancer.Algorithm{balancer.RoundRobin, balancer.ConsistentHashing, balancer.LeastConnections, balancer.Latency} {
		u := newUpstream(t, &balancer.Config{Algorithm: algorithm, Targets: targets(1, 2, 3), Checks: checked()})
		if n := testing.AllocsPerRun(1000, func() {
			a, _ := u.Pick(context.Background(), 42, nil)
			a.Begin()
			a.Answered(200)
			a.Done(time.Millisecond)
		}); n != 0 {
			t.Errorf("algorithm %d: %v allocations", algorithm, n)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	u := newUpstream(t, &balancer.Config{Targets: targets(1, 2, 3, 4), Checks: checked()})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 2000 {
				a, err := u.Pick(context.Background(), uint64(n), nil)
				if err != nil {
					u.SetHealth(target(n%4, 0).Name, "", true)
					continue
				}
				a.Begin()
				if n%7 == i%7 {
					a.Failed(n%2 == 0)
				} else {
					a.Answered(200)
				}
				a.Done(time.Millisecond)
				if n%500 == 0 {
					u.Update(&balancer.Config{Algorithm: balancer.Algorithm(n / 500 % 4), Slots: 100, Targets: targets(n%3, 2, 3, 4), Checks: checked()})
				}
			}
		})
	}
	wg.Wait()
	u.Status()
}

func BenchmarkPick(b *testing.B) {
	for name, algorithm := range map[string]balancer.Algorithm{"round-robin": balancer.RoundRobin, "consistent-hashing": balancer.ConsistentHashing,
		"least-connections": balancer.LeastConnections, "latency": balancer.Latency} {
		b.Run(name, func(b *testing.B) {
			weights := make([]int, 10)
			for i := range weights {
				weights[i] = 100
			}
			u := newUpstream(b, &balancer.Config{Algorithm: algorithm, Targets: targets(weights...)})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := u.Pick(context.Background(), rand.Uint64(), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
