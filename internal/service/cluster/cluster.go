package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/mesh"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Faults of the cluster.
var (
	NoSuchNode = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchNode"}
	NodeAlive  = &fault.Reason{Kind: fault.Conflict, Name: "NodeIsUp"}
	// Disagree: a node's configuration is not that of the others.
	Disagree = &fault.Reason{Kind: fault.Invalid, Name: "ConfigurationDiffers"}
	// NotReady: load balancers should send nothing to the node.
	NotReady = &fault.Reason{Kind: fault.Unavailable, Name: "NodeNotReady"}
)

// Authorizer decides whether the caller may do something.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// Actions that callers need.
const (
	ListNodes    name.Action = "cluster:ListNodes"
	DescribeNode name.Action = "cluster:DescribeNode"
	CordonNode   name.Action = "cluster:CordonNode"
	ForgetNode   name.Action = "cluster:ForgetNode"
)

// Part is a part of the platform that a node runs.
type Part struct {
	Name string `json:"name"`
	// State is running, forwarding (to the node that runs it), failed or off.
	State string `json:"state"`
	// Address is where clients reach it.
	Address string `json:"address,omitempty"`
}

// The states of a part.
const (
	Running    = "running"
	Forwarding = "forwarding"
	Failed     = "failed"
	Off        = "off"
)

// Config says who this node is.
type Config struct {
	Cluster string // the cluster's name; empty for a node alone
	Account string
	Region  string
	Self    Self
	// DataNode is the node that keeps objects, streams, deliveries and SQL; empty if none does, or all do.
	DataNode string
}

// Self is what a node tells of itself, and what does not change while it runs.
type Self struct {
	Node       string            `json:"node"`
	Hostname   string            `json:"hostname"`
	Address    string            `json:"address"` // where other nodes reach it
	IP         string            `json:"ip"`
	Version    string            `json:"version"`
	Roles      []string          `json:"roles,omitempty"`
	Started    time.Time         `json:"started"`
	Generation int               `json:"generation"`
	Digests    map[string]string `json:"digests"`
	// Own are digests of keys that nodes may have their own values of, but seldom mean to.
	Own   map[string]string `json:"own,omitempty"`
	Stack string            `json:"stack"` // tcp or tcp-ssl
}

// about is what comes with a session's renewals.
type about struct {
	Self
	Health   string   `json:"health,omitempty"` // what is wrong; empty if nothing
	Parts    []Part   `json:"parts"`
	Revision int64    `json:"revision"`
	Busy     int64    `json:"busy"` // requests and connections under way
	Peers    []string `json:"peers"`
}

// order is what an operator wants of a node.
type order struct {
	Cordoned bool
	Drain    bool
	Since    time.Time
}

// Deps is what the Service works with.
type Deps struct {
	Store *store.Store
	Auth  Authorizer
	Clock clock.Clock
	Log   *slog.Logger
	// Health says what is wrong with this node; nil if nothing is.
	Health func() error
	// Parts are what this node runs, Busy what it has under way, Peers the nodes that it is
	// connected to.
	Parts func() []Part
	Busy  func() int64
	Peers func() []string
	// Drain, if not nil, is told whether to end connections, when that is ordered anew.
	Drain func(on bool)
}

// Service knows the nodes.
type Service struct {
	cfg    Config
	deps   Deps
	orders *store.Collection[order]
	keeper atomic.Pointer[lease.Keeper]
	// cordoned is the order to this node, as it was last carried out.
	cordoned atomic.Bool
	drain    atomic.Bool
}

// New returns the Service. SetKeeper must be called before anything is asked of it.
func New(c Config, d Deps) *Service {
	s := &Service{cfg: c, deps: d, orders: store.Register[order](d.Store, "cluster.orders")}
	if o, ok := s.orders.Get(d.Store.Snapshot(), c.Self.Node); ok {
		s.cordoned.Store(o.Cordoned)
		s.drain.Store(o.Drain)
	}
	return s
}

// Self is this node's name.
func (s *Service) Self() string { return s.cfg.Self.Node }

// SetKeeper gives the Service the node's session, which tells what About returns.
func (s *Service) SetKeeper(k *lease.Keeper) { s.keeper.Store(k) }

// About is what this node tells of itself now.
func (s *Service) About() json.RawMessage {
	a := about{Self: s.cfg.Self, Parts: s.deps.Parts(), Revision: s.deps.Store.Snapshot().Revision(), Busy: s.deps.Busy(), Peers: s.deps.Peers()}
	if err := s.deps.Health(); err != nil {
		a.Health = err.Error()
	}
	raw, err := json.Marshal(a)
	if err != nil {
		panic(err) // it is plain data
	}
	return raw
}

// Ready reports whether load balancers may send requests here.
func (s *Service) Ready() error {
	switch {
	case s.drain.Load():
		return NotReady.New("the node is drained")
	case s.cordoned.Load():
		return NotReady.New("the node is cordoned")
	}
	return nil
}

// Draining reports whether connections should be closed as soon as nothing is under way.
func (s *Service) Draining() bool { return s.drain.Load() }

// Run carries out the orders to this node until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	look := make(chan struct{}, 1)
	look <- struct{}{}
	cancel := s.deps.Store.Subscribe(func(*store.Snapshot, []store.Change) {
		select {
		case look <- struct{}{}:
		default:
		}
	})
	defer cancel()
	begun := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look:
		}
		var o order
		if doc, ok := s.orders.Get(s.deps.Store.Snapshot(), s.cfg.Self.Node); ok {
			o = *doc
		}
		changed := s.drain.Swap(o.Drain) != o.Drain
		if s.deps.Drain != nil && (changed || !begun && o.Drain) {
			s.deps.Drain(o.Drain)
		}
		changed = s.cordoned.Swap(o.Cordoned) != o.Cordoned || changed
		if changed {
			s.deps.Log.Info("the node is ordered anew", "cordoned", o.Cordoned, "drain", o.Drain)
		}
		if changed || !begun {
			begun = true
			s.keeper.Load().Retire(ctx, o.Cordoned)
		}
	}
}

// Node is a node as an operator sees it.
type Node struct {
	Name     string    `json:"name"`
	Hostname string    `json:"hostname"`
	IP       string    `json:"ip"`
	Address  string    `json:"address"`
	Version  string    `json:"version"`
	Roles    []string  `json:"roles"`
	State    string    `json:"state"` // up, cordoned, draining, drained or down
	Health   string    `json:"health"`
	Parts    []Part    `json:"parts"`
	Leases   []string  `json:"leases"`
	Lag      int64     `json:"lag"` // revisions of the feed that it has not seen
	Busy     int64     `json:"busy"`
	Peers    []string  `json:"peers"`
	Stack    string    `json:"stack"`
	Started  time.Time `json:"started"`
	// Silent is how long ago its session ended; 0 while it is up.
	Silent time.Duration `json:"silent_ns"`

	Generation int               `json:"generation"`
	Digests    map[string]string `json:"-"`
}

// The states of a node.
const (
	Up       = "up"
	Cordoned = "cordoned"
	Draining = "draining"
	Drained  = "drained"
	Down     = "down"
)

func (s *Service) arn(node string) name.ARN {
	return name.ARN{Service: "cluster", Region: s.cfg.Region, Account: s.cfg.Account, Resource: "node/" + node}
}

// Nodes lists the nodes, by name.
func (s *Service) Nodes(ctx context.Context) ([]Node, error) {
	if err := s.deps.Auth.Authorize(ctx, ListNodes, s.arn("*")); err != nil {
		return nil, err
	}
	return s.look(ctx), nil
}

// look returns the nodes as they are now, or as they were when the database last answered.
func (s *Service) look(ctx context.Context) []Node {
	if err := s.keeper.Load().Look(ctx); err != nil {
		s.deps.Log.Warn("cannot read the nodes", "error", err)
	}
	return s.nodes()
}

// Describe returns one node.
func (s *Service) Describe(ctx context.Context, node string) (Node, error) {
	if err := s.deps.Auth.Authorize(ctx, DescribeNode, s.arn(node)); err != nil {
		return Node{}, err
	}
	return s.find(ctx, node)
}

func (s *Service) find(ctx context.Context, node string) (Node, error) {
	for _, n := range s.look(ctx) {
		if n.Name == node {
			return n, nil
		}
	}
	return Node{}, NoSuchNode.Field("node", "there is no node %q", node)
}

// Living are the nodes that are up, for other services. Nobody is asked.
func (s *Service) Living() []Node {
	return slices.DeleteFunc(s.nodes(), func(n Node) bool { return n.State == Down })
}

func (s *Service) nodes() []Node {
	snap := s.deps.Store.Snapshot()
	leases := map[string][]string{}
	for _, h := range s.keeper.Load().Holdings() {
		leases[h.Node] = append(leases[h.Node], h.Name)
	}
	known := s.keeper.Load().Nodes()
	if s.cfg.Cluster == "" { // a node alone has no session
		known = []store.Node{{Name: s.cfg.Self.Node, Left: time.Hour, About: s.About()}}
	}
	out := make([]Node, 0, len(known))
	newest := snap.Revision()
	for _, k := range known {
		var a about
		if err := json.Unmarshal(k.About, &a); err != nil {
			s.deps.Log.Error("what a node tells of itself cannot be read", "node", k.Name, "error", err)
			continue
		}
		n := Node{Name: k.Name, Hostname: a.Hostname, IP: a.IP, Address: a.Address, Version: a.Version, Roles: a.Roles, State: Up, Health: a.Health,
			Parts: a.Parts, Leases: leases[k.Name], Busy: a.Busy, Peers: a.Peers, Stack: a.Stack, Started: a.Started, Generation: a.Generation, Digests: a.Digests,
			Lag: max(0, newest-a.Revision)}
		o, _ := s.orders.Get(snap, k.Name)
		switch {
		case k.Left <= 0:
			n.State, n.Health, n.Silent, n.Leases, n.Busy, n.Peers = Down, "the node does not renew its session", -k.Left, nil, 0, nil
		case o != nil && o.Drain && n.Busy == 0:
			n.State = Drained
		case o != nil && o.Drain:
			n.State = Draining
		case o != nil && o.Cordoned:
			n.State = Cordoned
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Cordon orders a node to take no new work, and with drain to end what it has; off takes the
// order back. The order holds until then.
func (s *Service) Cordon(ctx context.Context, node string, on, drain bool) (Node, error) {
	if err := s.deps.Auth.Authorize(ctx, CordonNode, s.arn(node)); err != nil {
		return Node{}, err
	}
	if _, err := s.find(ctx, node); err != nil {
		return Node{}, err
	}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if on {
			return s.orders.Put(tx, node, &order{Cordoned: true, Drain: drain, Since: tx.Now()})
		}
		_, err := s.orders.Delete(tx, node)
		return err
	})
	if err != nil {
		return Node{}, err
	}
	return s.find(ctx, node)
}

// Forget removes a node that is down from the list, with the orders to it.
func (s *Service) Forget(ctx context.Context, node string) error {
	if err := s.deps.Auth.Authorize(ctx, ForgetNode, s.arn(node)); err != nil {
		return err
	}
	found, err := s.deps.Store.ForgetNode(ctx, node)
	switch {
	case store.NameTaken.Is(err):
		return NodeAlive.Field("node", "node %q is up: stop it first", node)
	case err != nil:
		return err
	case !found:
		return NoSuchNode.Field("node", "there is no node %q", node)
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := s.orders.Delete(tx, node)
		return err
	})
}

// Status is how the cluster does.
type Status struct {
	Cluster string          `json:"cluster"`
	Nodes   map[string]int  `json:"nodes"` // by state
	Leases  []lease.Holding `json:"leases"`
	// Revision is the newest of the feed that this node knows, Silence how long ago the
	// database last answered it.
	Revision int64         `json:"revision"`
	Silence  time.Duration `json:"database_silence_ns"`
	// Warnings are what an operator should know.
	Warnings []string `json:"warnings"`
}

// Status returns how the cluster does.
func (s *Service) Status(ctx context.Context) (Status, error) {
	if err := s.deps.Auth.Authorize(ctx, ListNodes, s.arn("*")); err != nil {
		return Status{}, err
	}
	st := Status{Cluster: s.cfg.Cluster, Nodes: map[string]int{}, Leases: s.keeper.Load().Holdings(),
		Revision: s.deps.Store.Snapshot().Revision(), Silence: s.deps.Store.Silence(), Warnings: []string{}}
	nodes := s.look(ctx)
	up, generation := 0, -1
	for _, n := range nodes {
		st.Nodes[n.State]++
		switch {
		case n.State == Down:
			st.Warnings = append(st.Warnings, "node "+n.Name+" is down")
			continue
		case n.Health != "":
			st.Warnings = append(st.Warnings, "node "+n.Name+": "+n.Health)
		}
		up++
		if generation >= 0 && n.Generation != generation {
			st.Warnings = append(st.Warnings, "a change of the configuration is under way: nodes have different generations")
		}
		generation = n.Generation
	}
	st.Warnings = append(st.Warnings, s.away(nodes)...)
	if s.cfg.Cluster != "" && len(nodes) == 2 {
		st.Warnings = append(st.Warnings, "a cluster of two nodes is not supported: add a third")
	}
	if s.cfg.Cluster != "" && up == 1 && len(nodes) > 1 {
		st.Warnings = append(st.Warnings, "one node is left")
	}
	return st, nil
}

// away says what the cluster lacks: its data node, connections between nodes that live.
func (s *Service) away(nodes []Node) (warnings []string) {
	if s.cfg.Cluster == "" {
		return nil
	}
	up := map[string]Node{}
	for _, n := range nodes {
		if n.State != Down {
			up[n.Name] = n
		}
	}
	if d := s.cfg.DataNode; d != "" {
		if _, ok := up[d]; !ok {
			warnings = append(warnings, "node "+d+", which keeps objects, streams, deliveries and SQL (cluster.data_node), is not up: they are away")
		}
	}
	for _, n := range nodes {
		for other, o := range up {
			if up[n.Name].Name != "" && n.Name < other && !slices.Contains(n.Peers, other) && !slices.Contains(o.Peers, n.Name) {
				warnings = append(warnings, "nodes "+n.Name+" and "+other+" are not connected with each other")
			}
		}
	}
	slices.Sort(warnings)
	return warnings
}

// Connected reports whether this node is connected with all others that have a session, and the data node with
// them. The error says with which it is not.
func (s *Service) Connected() error {
	if s.cfg.Cluster == "" {
		return nil
	}
	peers := s.deps.Peers()
	var missing []string
	for _, n := range s.Living() {
		if n.Name != s.cfg.Self.Node && !slices.Contains(peers, n.Name) {
			missing = append(missing, n.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return NotReady.New("no connection with %s", strings.Join(missing, ", "))
}

// DataNode reports whether the node that keeps objects, streams, deliveries and SQL can be reached from here.
func (s *Service) DataNode() error {
	d := s.cfg.DataNode
	if d == "" || d == s.cfg.Self.Node || slices.Contains(s.deps.Peers(), d) {
		return nil
	}
	return NotReady.New("node %s, which keeps objects, streams, deliveries and SQL, cannot be reached", d)
}

// WarnOfOwn logs the keys, node by node, that nodes may have their own values of and that differ from this one's.
func (s *Service) WarnOfOwn(known []store.Node) {
	for _, k := range known {
		var a about
		if k.Left <= 0 || k.Name == s.cfg.Self.Node || json.Unmarshal(k.About, &a) != nil || len(a.Own) == 0 {
			continue
		}
		if keys := mesh.Differing(s.cfg.Self.Own, a.Own, true); len(keys) > 0 {
			s.deps.Log.Warn("this node has its own values of keys that usually are the same on all nodes", "other_node", k.Name, "keys", strings.Join(keys, ", "))
		}
	}
}

// Agree makes sure that this node may join those that live: with the same configuration, or
// one of a later generation. The error names the keys.
func (s *Service) Agree(known []store.Node) error {
	for _, k := range known {
		var a about
		if k.Left <= 0 || k.Name == s.cfg.Self.Node || json.Unmarshal(k.About, &a) != nil {
			continue
		}
		switch {
		case a.Generation > s.cfg.Self.Generation:
			return Disagree.Field("cluster.generation", "the cluster's configuration has generation %d by now (node %q), and this node's has %d", a.Generation, k.Name, s.cfg.Self.Generation)
		case a.Generation < s.cfg.Self.Generation:
			continue
		}
		if keys := mesh.Differing(s.cfg.Self.Digests, a.Digests, true); len(keys) > 0 {
			return Disagree.Field(keys[0], "the configuration of node %q differs in these keys: %s. All nodes must agree on them; for a change node by node, raise cluster.generation", k.Name, strings.Join(keys, ", "))
		}
	}
	return nil
}
