package quota_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/quota"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// counters are the implementations, each as two nodes see it. What they share is empty.
func counters(t *testing.T) map[string]func(t *testing.T) [2]quota.Counter {
	host, port, _ := dbtest.Redis(t)
	redis := schema.Record{"host": host, "port": float64(port), "timeout": 5000.0}
	return map[string]func(t *testing.T) [2]quota.Counter{
		"local": func(*testing.T) [2]quota.Counter {
			c := quota.NewLocal()
			return [2]quota.Counter{c, c}
		},
		"redis": func(t *testing.T) (out [2]quota.Counter) {
			for i := range out {
				c := quota.NewRedis(redis)
				t.Cleanup(c.Close)
				out[i] = c
			}
			return out
		},
		"cluster": func(t *testing.T) [2]quota.Counter {
			r := records(t)
			return [2]quota.Counter{quota.NewCluster(r, clock.System{}), quota.NewCluster(r, clock.System{})}
		},
	}
}

// records are those of a gateway, as its plugins are given them.
func records(t *testing.T) (out gateway.Records) {
	t.Helper()
	kind := gateway.Plugin{Name: "holder", Config: &schema.Field{}, Entities: []*schema.Entity{quota.Entity},
		New: func(_ schema.Record, env gateway.Env) (any, error) { out = env.Records; return struct{}{}, nil }}
	g := gatewaytest.New(t, []gateway.Plugin{kind})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "holder"})
	return out
}

// soon is a moment from which on no window ends for a while. The servers drop what is
// over by their own clocks.
func soon() time.Time {
	now := time.Now().UTC()
	return time.Date(now.Year()+1, 5, 5, 5, 5, 5, 0, time.UTC)
}

func TestCounters(t *testing.T) {
	for name, open := range counters(t) {
		t.Run(name, func(t *testing.T) {
			t.Run("windows", func(t *testing.T) { testWindows(t, open(t)[0]) })
			t.Run("exact", func(t *testing.T) { testExact(t, open(t)) })
			t.Run("add", func(t *testing.T) { testAdd(t, open(t)) })
		})
	}
}

func testWindows(t *testing.T, c quota.Counter) {
	limits := &quota.Limits{quota.Second: 2, quota.Hour: 3}
	s := quota.Subject{Plugin: "windows", Who: t.Name()}
	at := soon()
	for i, want := range []struct {
		after      time.Duration
		full       quota.Period
		left, hour int64
		reset      int64
	}{
		{0, -1, 1, 2, 1}, {0, -1, 0, 1, 1}, {0, quota.Second, 0, 1, 1}, // refused, and counted nowhere
		{time.Second, -1, 1, 0, 1}, {time.Second, quota.Hour, 1, 0, 1},
		{55 * time.Minute, -1, 1, 2, 1}, // the next hour
	} {
		u, err := c.Take(t.Context(), s, limits, 1, at.Add(want.after))
		if err != nil {
			t.Fatal(err)
		}
		if u.Full != want.full || u.Left[quota.Second] != want.left || u.Left[quota.Hour] != want.hour || u.Reset[quota.Second] != want.reset {
			t.Errorf("%d: %+v, want %+v", i, u, want)
		}
	}
}

// testExact takes from two nodes at once, many more than there are: exactly the limit is
// given, and what a node held when it was closed is there for the other.
func testExact(t *testing.T, nodes [2]quota.Counter) {
	const limit = 500
	limits := &quota.Limits{quota.Year: limit}
	s := quota.Subject{Plugin: "exact", Who: t.Name()}
	at := soon()
	var given atomic.Int64
	take := func(c quota.Counter, n int) {
		for range n {
			u, err := c.Take(t.Context(), s, limits, 1, at)
			if err != nil {
				t.Error(err)
				return
			}
			if u.Full < 0 {
				given.Add(1)
			}
		}
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { take(nodes[i%2], 20) })
	}
	wg.Wait()
	nodes[0].Close()
	if _, shared := nodes[0].(*quota.Redis); shared {
		nodes[0] = nodes[1]
	}
	for i := range 4 {
		wg.Go(func() { take(nodes[i%2], 2*limit) })
	}
	wg.Wait()
	nodes[1].Close()
	if n := given.Load(); n > limit {
		t.Errorf("%d were given of %d", n, limit)
	} else if n < limit {
		// Both nodes have given back what they held: the rest is there now.
		if _, redis := nodes[1].(*quota.Redis); redis {
			t.Fatalf("%d were given of %d", n, limit)
		}
		take(nodes[0], limit)
		if n := given.Load(); n != limit {
			t.Errorf("%d were given of %d", n, limit)
		}
	}
}

func testAdd(t *testing.T, nodes [2]quota.Counter) {
	limits := &quota.Limits{quota.Day: 10}
	s := quota.Subject{Plugin: "add", Who: t.Name()}
	at := soon()
	for i, want := range []struct {
		n, left int64
		full    quota.Period
	}{{4, 6, -1}, {0, 6, -1}, {7, 0, quota.Day}, {0, 0, quota.Day}} {
		u, err := nodes[i%2].Add(t.Context(), s, limits, want.n, at)
		if err != nil {
			t.Fatal(err)
		}
		if u.Left[quota.Day] != want.left || u.Full != want.full {
			t.Errorf("%d: %+v, want %+v", i, u, want)
		}
	}
}
