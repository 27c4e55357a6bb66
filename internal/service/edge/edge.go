package edge

import (
	"context"
	"crypto/x509"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// Authorizer decides whether the caller may do something.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// Peers are the other nodes.
type Peers interface {
	// Cast tells all of them something, which may get lost.
	Cast(topic string, body []byte)
	// Ask asks all of them and returns what came back in time, by node.
	Ask(ctx context.Context, topic string, body []byte) map[string][]byte
}

// Authority issues the certificates of agents.
type Authority interface {
	// IssueAgent signs a certificate for the key of an agent of a class until a time, and
	// returns it with the authority's own, both in PEM.
	IssueAgent(key any, agent, class string, until time.Time) (cert, ca []byte, err error)
	// Roots are what agents' certificates are verified with.
	Roots() *x509.CertPool
}

// Config bounds the service.
type Config struct {
	Account string
	Region  string
	Node    string
	// MaxSilence is how long an agent may say nothing before it is missing; 5 minutes if
	// zero (efm.monitor.maxHeartbeatInterval).
	MaxSilence time.Duration
	// SilenceOf is the same for classes that have their own; 0 never misses their agents.
	SilenceOf map[string]time.Duration
	// Pace bounds what the node hands out.
	Pace Pace
	// AnswerWithin is how long an agent may take to acknowledge what it got, before it gets
	// it again; 5 minutes if zero (efm.operation.monitoring.inDeployedStateTimeout).
	AnswerWithin time.Duration
	// Forget is how long an agent may be missing before it is removed; 30 days if zero.
	Forget time.Duration
	// Strategy is how classes take manifests unless they say; FirstIn if empty.
	Strategy Strategy
	// RequireCertificate refuses agents that show no certificate of the platform's.
	RequireCertificate bool
	// MaxAgents bounds how many agents a node remembers; 200,000 if zero. MaxClasses bounds
	// the classes that agents make; 1,000 if zero.
	MaxAgents, MaxClasses int
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&c.MaxSilence, 5*time.Minute)
	set(&c.AnswerWithin, 5*time.Minute)
	set(&c.Forget, 30*24*time.Hour)
	if c.Strategy == "" {
		c.Strategy = FirstIn
	}
	if c.MaxAgents == 0 {
		c.MaxAgents = 200_000
	}
	if c.MaxClasses == 0 {
		c.MaxClasses = 1000
	}
	return c
}

// Deps is what the Service works with.
type Deps struct {
	Store     *store.Store
	Auth      Authorizer
	Leases    *lease.Keeper
	Peers     Peers     // nil for a node alone
	Authority Authority // nil: agents cannot enrol
	Clock     clock.Clock
	Log       *slog.Logger
}

// Service manages agents.
type Service struct {
	cfg    Config
	deps   Deps
	store  *collections
	writer *writer

	seed     maphash.Seed
	shards   [shardCount]shard
	known    atomic.Int64 // agents in the shards
	names    *interner
	eventSeq atomic.Int64
	details  *details
	rendered *recent[rendering]
	pace     *pacer
	asking   sync.Map // manifest hash → *askedAt
	learning singleflight.Group
	// manifests are those that were used last, parsed.
	manifests *recent[*manifest.Manifest]
	unproved  sync.Map // agent or address → that it was told of
	// unprovedCount counts them.
	unprovedCount atomic.Int64
	scanned       sync.Map // rollout → when its silent agents were last looked for
	counts        counts
}

// shardCount spreads agents over locks.
const shardCount = 256

type shard struct {
	mu     sync.Mutex
	agents map[string]*live
}

// Bounds of what is kept to be used again.
const (
	maxRendered = 64 << 20 // bytes of flows as agents fetch them
	maxParsed   = 32       // manifests
)

// counts are what the node counts of its agents.
type counts struct {
	Heartbeats, Acknowledgements, Operations, Refused atomic.Int64
}

// New returns the Service. Run must be called for what happens by itself.
func New(c Config, d Deps) *Service {
	s := &Service{cfg: c.withDefaults(), deps: d, store: openCollections(d.Store), seed: maphash.MakeSeed(), names: newInterner(), details: newDetails(), pace: newPacer(c.Pace),
		rendered: newRecent(maxRendered, func(r rendering) int { return len(r.text) + 1024 }), manifests: newRecent(maxParsed, func(*manifest.Manifest) int { return 1 })}
	for i := range s.shards {
		s.shards[i].agents = map[string]*live{}
	}
	s.writer = newWriter(s)
	return s
}

// Run writes what was gathered and does what is due until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.writer.run(ctx) })
	all.Go(func() { _ = s.deps.Leases.Lead(ctx, "edge rollouts", s.moveRollouts) })
	all.Go(func() { _ = s.deps.Leases.Every(ctx, "edge sweep", sweepEvery, s.sweep) })
	all.Go(func() { _ = s.deps.Leases.Every(ctx, "edge clean-up", cleanEvery, s.clean) })
	<-ctx.Done()
	return nil
}

// Counts are what the node has counted since its start, by name.
func (s *Service) Counts() map[string]int64 {
	return map[string]int64{"heartbeats": s.counts.Heartbeats.Load(), "acknowledgements": s.counts.Acknowledgements.Load(),
		"operations": s.counts.Operations.Load(), "refused": s.counts.Refused.Load(), "agents": s.known.Load(), "waiting": s.writer.waiting()}
}

// silence is how long an agent of a class may say nothing; 0 for as long as it likes.
func (s *Service) silence(class string) time.Duration {
	if d, ok := s.cfg.SilenceOf[class]; ok {
		return d
	}
	return s.cfg.MaxSilence
}

// shortest is the shortest silence of any class.
func (s *Service) shortest() time.Duration {
	least := s.cfg.MaxSilence
	for _, d := range s.cfg.SilenceOf {
		if d > 0 {
			least = min(least, d)
		}
	}
	return least
}

// Remembered counts the agents that this node hears, by class.
func (s *Service) Remembered() map[string]int {
	out := map[string]int{}
	now := s.deps.Clock.Now().UnixMilli()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, l := range sh.agents {
			if now-l.seen < s.cfg.MaxSilence.Milliseconds() {
				out[l.Class]++
			}
		}
		sh.mu.Unlock()
	}
	return out
}

// shard is where an agent is remembered.
func (s *Service) shard(agent string) *shard {
	return &s.shards[maphash.String(s.seed, agent)%shardCount]
}

// interner keeps one copy of texts that thousands of agents share.
type interner struct {
	mu    sync.RWMutex
	texts map[string]string
}

// maxInterned bounds the texts; what is beyond is kept by each agent itself.
const maxInterned = 100_000

func newInterner() *interner { return &interner{texts: map[string]string{}} }

func (i *interner) of(s string) string {
	i.mu.RLock()
	t, ok := i.texts[s]
	i.mu.RUnlock()
	if ok {
		return t
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if t, ok := i.texts[s]; ok {
		return t
	}
	if len(i.texts) < maxInterned {
		i.texts[s] = s
	}
	return s
}
