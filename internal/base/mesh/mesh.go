package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/work"
)

// Config says who a node is and whom it takes as peers.
type Config struct {
	// Cluster and Node are names. Advertise is the address, host:port, that peers dial.
	Cluster, Node, Advertise string
	// Version of the program.
	Version string
	// Database is the instance of the control store: store.Identity.Instance.
	Database string
	// Digests are digests of the configuration keys that all nodes must agree on:
	// config.Digests.
	Digests map[string]string
	// Generation of the configuration: nodes of one generation must agree, those of others
	// may differ while the configuration is being changed node by node.
	Generation int
	// Key is proved in every handshake; all nodes share it.
	Key [32]byte
	// Server and Client, if not nil, make connections speak TLS. Client must verify the
	// other's certificate as Server does.
	Server, Client *tls.Config
	// MayReach, if not nil, says whether an address that a peer told of may be dialled.
	MayReach func(address string) bool
}

// Deps is what a Mesh works with.
type Deps struct {
	Listener net.Listener // the Mesh closes it
	Log      *slog.Logger
}

// Mesh is a node's part in the cluster's network.
type Mesh struct {
	cfg  Config
	deps Deps
	id   string // of this process

	mu       sync.Mutex
	joined   bool
	hosts    map[string]*host // by address
	peers    map[string]*peer // by node
	casts    map[string]func(from string, body []byte)
	calls    map[string]Handler
	services map[string]*listener
	changed  []func()
	refused  chan error
	told     map[string]string // the last refusal of each node, which is logged once
	ctx      context.Context   //nolint:containedctx // of all connections; ends with Run
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// host is an address that nodes may be at.
type host struct {
	kick chan struct{} // dial now
	told time.Time     // when somebody last told of it
	// what came of it last
	node  string
	err   error
	tried time.Time
}

// errSelf is what a node finds that dialled itself.
var errSelf = errors.New("mesh: this is the node itself")

// New returns a Mesh. It does nothing before Run.
func New(c Config, d Deps) *Mesh {
	m := &Mesh{cfg: c, deps: d, id: rand.Text(), hosts: map[string]*host{}, peers: map[string]*peer{},
		casts: map[string]func(string, []byte){}, calls: map[string]Handler{}, services: map[string]*listener{}, refused: make(chan error, 1), told: map[string]string{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Stack names how nodes speak, as JGroups calls it: tcp or tcp-ssl.
func (m *Mesh) Stack() string {
	if m.cfg.Server != nil {
		return "tcp-ssl"
	}
	return "tcp"
}

// Refused tells of nodes that this one has dialled and that refuse it, or that it refuses,
// before Joined.
func (m *Mesh) Refused() <-chan error { return m.refused }

// Joined says that the node serves: from now on it is not the newcomer.
func (m *Mesh) Joined() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined = true
}

// Run takes connections until ctx ends, then closes all of them.
func (m *Mesh) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		m.stop()
		_ = m.deps.Listener.Close() // nothing is lost with it
	})()
	// Handshakes under way are bounded, whoever knocks.
	knocking := make(chan struct{}, 64)
	retry := work.Retry{Log: m.deps.Log, What: "the cluster's port: taking a connection", Last: time.Second}
	for ctx.Err() == nil {
		conn, err := m.deps.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			retry.Wait(ctx, err)
			continue
		}
		retry.Worked()
		knocking <- struct{}{}
		m.running.Go(func() { m.accepted(conn, func() { <-knocking }) })
	}
	m.stop()
	m.mu.Lock()
	for _, p := range m.peers {
		p.close()
	}
	for _, l := range m.services {
		l.shut()
	}
	m.mu.Unlock()
	m.running.Wait()
	return nil
}

// Know tells of addresses, host:port, where nodes may be. They are dialled from now on.
func (m *Mesh) Know(addresses ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, address := range addresses {
		if address == m.cfg.Advertise || m.ctx.Err() != nil {
			continue
		}
		if h, ok := m.hosts[address]; ok {
			h.told = time.Now()
			select {
			case h.kick <- struct{}{}: // told of again: perhaps it has come up
			default:
			}
			continue
		}
		if len(m.hosts) >= maxKnownHosts {
			m.deps.Log.Warn("too many addresses of nodes are known; one is left out", "address", address)
			continue
		}
		h := &host{kick: make(chan struct{}, 1), told: time.Now()}
		m.hosts[address] = h
		m.running.Go(func() { m.reach(address, h) })
	}
}

// Waits between two attempts to reach an address.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
	// forgotten is when an address is given up that nobody is at and nobody tells of.
	forgotten = 10 * time.Minute
)

// reach dials an address for as long as the mesh runs.
func (m *Mesh) reach(address string, h *host) {
	wait := firstRetry
	for m.ctx.Err() == nil {
		began := time.Now()
		err := m.dialOnce(address, h)
		m.mu.Lock()
		first := h.err == nil || err == nil || h.err.Error() != err.Error()
		h.err, h.tried = err, time.Now()
		if time.Since(began) > lastRetry {
			wait, h.told = firstRetry, time.Now() // it had been up
		}
		gone := errors.Is(err, errSelf) || time.Since(h.told) > forgotten
		if gone {
			delete(m.hosts, address)
		}
		m.mu.Unlock()
		if gone {
			return
		}
		if err != nil && first && m.ctx.Err() == nil {
			m.deps.Log.Info("cannot reach a node of the cluster", "address", address, "error", err)
		}
		select {
		case <-m.ctx.Done():
		case <-h.kick:
		case <-time.After(wait):
			wait = min(wait*2, lastRetry)
		}
	}
}

// dialOnce connects to an address and serves the connection until it ends.
func (m *Mesh) dialOnce(address string, h *host) error {
	ctx, cancel := context.WithTimeout(m.ctx, helloTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if m.cfg.Client != nil {
		secure := tls.Client(conn, m.cfg.Client)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // the handshake's error is the one that counts
			if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
				return fmt.Errorf("%w: this node speaks TLS, and the other does not", errForeign)
			}
			return err
		}
		conn = secure
	}
	cancel()
	return m.greet(conn, true, func(theirs *hello) {
		m.mu.Lock()
		h.node = theirs.Node
		h.err = nil
		m.mu.Unlock()
	})
}

func (m *Mesh) accepted(conn net.Conn, greeted func()) {
	done := sync.OnceFunc(greeted)
	defer done()
	from := conn.RemoteAddr().String()
	if m.cfg.Server != nil {
		secure := tls.Server(conn, m.cfg.Server)
		ctx, cancel := context.WithTimeout(m.ctx, helloTimeout)
		err := secure.HandshakeContext(ctx)
		cancel()
		if err != nil {
			_ = conn.Close() // the handshake's error is the one that counts
			if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
				err = fmt.Errorf("%w: this node speaks TLS, and the other does not", errForeign)
			}
			m.deps.Log.Warn("refused a connection to the cluster's port", "from", from, "error", err)
			return
		}
		conn = secure
	}
	if err := m.greet(conn, false, func(*hello) { done() }); err != nil && !errors.Is(err, errSelf) && m.ctx.Err() == nil {
		m.deps.Log.Debug("a connection to the cluster's port ended", "from", from, "error", err)
	}
}

// greet says hello and serves the connection until it ends.
func (m *Mesh) greet(conn net.Conn, dialled bool, met func(*hello)) error {
	end := context.AfterFunc(m.ctx, func() { _ = conn.Close() }) // also in the middle of a handshake
	defer end()
	defer func() { _ = conn.Close() }() // closed already when it served
	theirs, refusal, err := m.shake(conn, dialled)
	if err != nil {
		return err
	}
	if refusal != nil {
		m.refuse(theirs, refusal, dialled)
		return refusal
	}
	met(theirs)
	m.tell(theirs)
	return m.serve(conn, dialled, theirs)
}

// refuse reports a refusal to whom it concerns: the newcomer must not start. It goes by those
// that it has dialled itself, as anybody may knock at its port.
func (m *Mesh) refuse(theirs *hello, refusal error, dialled bool) {
	m.mu.Lock()
	ends := dialled && !m.joined
	last, known := m.told[theirs.Node]
	again := last == refusal.Error() || !known && len(m.told) >= maxKnownHosts
	if !again {
		m.told[theirs.Node] = refusal.Error()
	}
	m.mu.Unlock()
	if !ends {
		if !again { // it knocks every few seconds
			m.deps.Log.Error("a node may not join", "error", refusal)
		}
		return
	}
	select {
	case m.refused <- refusal:
	default: // one is enough
	}
}

// tell learns the addresses that a peer knows.
func (m *Mesh) tell(theirs *hello) {
	for _, address := range append(theirs.Hosts, theirs.Address) {
		if _, _, err := net.SplitHostPort(address); err == nil && (m.cfg.MayReach == nil || m.cfg.MayReach(address)) {
			m.mu.Lock()
			_, known := m.hosts[address]
			m.mu.Unlock()
			if !known {
				m.Know(address)
			}
		}
	}
}

// Peer is a node that is connected.
type Peer struct {
	Node    string    `json:"node"`
	Session string    `json:"-"`
	Address string    `json:"address"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
}

// Peers are the nodes that are connected, by name.
func (m *Mesh) Peers() []Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Peer, 0, len(m.peers))
	for _, p := range m.peers {
		out = append(out, p.Peer)
	}
	slices.SortFunc(out, func(a, b Peer) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// Settled reports whether every known address was tried and is connected or cannot be
// reached, so that there is nothing more to wait for.
func (m *Mesh) Settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.hosts {
		if h.node == "" && h.tried.IsZero() {
			return false
		}
	}
	return true
}

// OnChange calls fn whenever a peer came or went. Call it before Run.
func (m *Mesh) OnChange(fn func()) { m.changed = append(m.changed, fn) }
