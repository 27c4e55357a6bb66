package lua

import (
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
)

// Config bounds what code may use up.
type Config struct {
	Limit  time.Duration // of one call; 0: one second
	Memory int64         // bytes the heap may grow under a call that takes more than a moment; 0: 256 MiB
	Body   int           // largest body that code may read or make; 0: 8 MiB
	Idle   int           // states kept for further requests; 0: 64
}

// Deps is what the engine needs from others.
type Deps struct {
	Clock  clock.Clock
	Log    *slog.Logger
	NodeID string
	// Trusts reports whether an address is of the peers whose X-Forwarded headers are believed; nil: none is.
	Trusts func(netip.Addr) bool
}

// Engine compiles and runs Lua. It is safe for concurrent use.
type Engine struct {
	cfg          Config
	deps         Deps
	hostname     string
	idle         chan *state
	retired      atomic.Int64 // programs closed so far
	cache        *cache
	dicts        *dicts
	clients      [2]*callout.Client // of resty.http
	patterns     sync.Map           // source of an expression of ngx.re → *regexp.Regexp
	patternCount atomic.Int64
	timers       atomic.Int64 // that wait or run
	recurring    sync.Map     // functions whose timers init_worker has set, in whichever state
}

// limitArrays keeps one assignment to a far index from filling a table up to there. The
// library has the bound as a variable of its own, for all states.
var limitArrays = sync.OnceFunc(func() { glua.MaxArrayIndex = 1 << 20 })

// SetTrust sets Deps.Trusts, before the engine runs anything.
func (e *Engine) SetTrust(trusts func(netip.Addr) bool) { e.deps.Trusts = trusts }

func (e *Engine) trusts(a netip.Addr) bool { return e.deps.Trusts != nil && e.deps.Trusts(a) }

// New returns an engine.
func New(c Config, d Deps) *Engine {
	limitArrays()
	if c.Limit <= 0 {
		c.Limit = time.Second
	}
	if c.Memory <= 0 {
		c.Memory = 256 << 20
	}
	if c.Body <= 0 {
		c.Body = 8 << 20
	}
	if c.Idle <= 0 {
		c.Idle = 64
	}
	hostname, _ := os.Hostname() // without one it is empty
	return &Engine{cfg: c, deps: d, hostname: hostname, idle: make(chan *state, c.Idle), cache: newCache(d.Clock),
		dicts: &dicts{clock: d.Clock, m: map[string]*dict{}}, clients: callClients(c.Body)}
}

// Unit is who code runs for: one configured plugin.
type Unit struct {
	Env    gateway.Env
	Name   string         // of the kind of plugin
	Config map[string]any // as kong and the handler see it
}

// take returns a state that nobody uses.
func (e *Engine) take() *state {
	for {
		select {
		case s := <-e.idle:
			if now := e.retired.Load(); s.retired != now {
				s.sweep(now)
			}
			return s
		default:
			return newState(e)
		}
	}
}

// stateOf returns the state of an exchange, which gets one where it has none that works.
func (e *Engine) stateOf(x *gateway.Exchange) *state {
	if s, ok := x.Value(e).(*state); ok && !s.dead {
		return s
	}
	s := e.take()
	s.x = x
	x.Put(e, s)
	return s
}
