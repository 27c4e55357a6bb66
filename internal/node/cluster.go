package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/keystore"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/mesh"
	"sluice.dev/sluice/internal/base/mesh/discover"
	"sluice.dev/sluice/internal/service/cluster"
	"sluice.dev/sluice/internal/service/iam"
)

// Times of joining a cluster.
const (
	// settleTime is how long a node waits for word from nodes that it was told of.
	settleTime = 5 * time.Second
	// listenTime is how long it listens for nodes that announce themselves.
	listenTime = 1500 * time.Millisecond
)

// clustered is a node's part in its cluster. A node alone has one too, without a mesh.
type clustered struct {
	service *cluster.Service
	keeper  *lease.Keeper
	mesh    *mesh.Mesh // nil for a node alone
	// peerAWS and peerSQL take connections that other nodes pass on to this one, if it runs
	// what is kept on one node.
	peerAWS, peerSQL net.Listener
	// parts and busy tell of the node's other floors, once they stand.
	parts atomic.Pointer[func() []cluster.Part]
	busy  atomic.Pointer[func() int64]
	// drain ends connections, or lets them be.
	drain atomic.Pointer[func(on bool)]
}

// drainAfter is how long after the order to drain connections are ended: load balancers must
// have seen by then that the node is not ready.
const drainAfter = 2 * time.Second

// openCluster begins the node's session, after it has made sure that the node fits in.
func openCluster(ctx context.Context, c *Config, b *base, auth *iam.Service, ln net.Listener, undo *undo) (*clustered, error) {
	k := new(clustered)
	server, client, err := c.clusterTLS(b) // first: a key store that cannot be used should cost nothing else
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "localhost"
	}
	self := cluster.Self{Node: hostname, Hostname: hostname, IP: c.Host, Version: Version(), Roles: slices.Collect(listed(c.Cluster.Roles)), Started: b.clock.Now()}
	key := b.data.key("cluster")
	if c.Cluster.Enabled {
		self.Node, self.Address, self.IP = c.Cluster.Node, c.advertised(), addressOf(ctx, c.Cluster.Address)
		self.Generation, self.Digests, self.Stack = c.Cluster.Generation, c.digests(key[:]), stack(c)
		self.Own = c.ownDigests()
	}
	conf := cluster.Config{Account: c.Account, Region: c.Region, Self: self}
	if c.Cluster.Enabled {
		conf.Cluster, conf.DataNode = c.Cluster.Name, c.Cluster.DataNode
	}
	k.service = cluster.New(conf, cluster.Deps{Store: b.store, Auth: auth, Clock: b.clock, Log: b.log, Health: b.guard.Check,
		Parts: func() []cluster.Part {
			if f := k.parts.Load(); f != nil {
				return (*f)()
			}
			return []cluster.Part{}
		},
		Busy: func() int64 {
			if f := k.busy.Load(); f != nil {
				return (*f)()
			}
			return 0
		},
		Peers: k.peers,
		Drain: func(on bool) {
			wait := drainAfter
			if !on {
				wait = 0
			}
			time.AfterFunc(wait, func() {
				if f := k.drain.Load(); f != nil && k.service.Draining() == on {
					(*f)(on)
				}
			})
		},
	})
	leases := lease.Config{Node: self.Node}
	if c.Cluster.Enabled {
		known, err := b.store.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		if err := k.service.Agree(known); err != nil {
			return nil, err
		}
		k.service.WarnOfOwn(known)
		if leases.Owner, err = ownerID(b.index, self.Address); err != nil {
			return nil, err
		}
		leases.TTL = lease.DefaultTTL
	}
	if k.keeper, err = lease.New(ctx, leases, lease.Deps{Store: b.store, Log: b.log, About: k.service.About}); err != nil {
		return nil, err
	}
	k.service.SetKeeper(k.keeper)
	undo.add(func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		logError(b.log, "ending the node's session", k.keeper.Close(end))
	})
	b.jobs.Go("leases", k.keeper.Run)
	b.jobs.Go("orders to the node", k.service.Run)
	if !c.Cluster.Enabled {
		return k, nil
	}
	k.mesh = mesh.New(mesh.Config{Cluster: c.Cluster.Name, Node: c.Cluster.Node, Advertise: c.advertised(), Version: self.Version, Database: b.data.database,
		Digests: self.Digests, Generation: c.Cluster.Generation, Key: key, Server: server, Client: client}, mesh.Deps{Listener: ln, Log: b.log})
	// News of a commit is pushed; the feed says what it was.
	b.store.OnCommit(func(int64) { k.mesh.Cast("revision", nil) })
	k.mesh.OnCast("revision", func(string, []byte) { b.store.Poke() })
	k.mesh.OnChange(b.store.Poke)
	return k, nil
}

// join connects the node with the others and returns when it has heard from those it can
// reach, or that it may not join.
func (k *clustered) join(ctx context.Context, c *Config, b *base) error {
	if k.mesh == nil {
		return nil
	}
	b.log.Info(fmt.Sprintf("starting the cluster's channel `%s` with stack `%s`", c.Cluster.Name, k.mesh.Stack()), "node", c.Cluster.Node, "address", c.advertised())
	d, err := c.discovery(b)
	if err != nil {
		return err
	}
	b.jobs.Go("mesh", k.mesh.Run)
	b.jobs.Go("discovery", func(ctx context.Context) error { return d.Run(ctx, k.mesh.Know) })
	// Who has a session may be there, whatever discovery says.
	var living []string
	for _, n := range k.service.Living() {
		if n.Name != c.Cluster.Node {
			living = append(living, n.Address)
		}
	}
	k.mesh.Know(living...)
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-k.mesh.Refused():
			return config.Invalid.Wrap(err, "the node may not join the cluster")
		case <-tick.C:
		}
		waited := time.Since(began)
		if waited <= settleTime && (!k.mesh.Settled() || c.Cluster.Discovery != byHosts && waited <= listenTime) {
			continue
		}
		select {
		case err := <-k.mesh.Refused(): // at the same moment
			return config.Invalid.Wrap(err, "the node may not join the cluster")
		default:
			k.mesh.Joined()
			return nil
		}
	}
}

// tell lets the other nodes know what this one runs.
func (k *clustered) tell(c *Config, local bool, busy func() int64, drain func(on bool)) {
	data := cluster.Running
	if !local {
		if data = cluster.Forwarding; c.Cluster.DataNode == "" {
			data = cluster.Off
		}
	}
	parts := []cluster.Part{
		{Name: "gateway", State: cluster.Running, Address: c.address(c.Ports.Proxy)},
		{Name: "kong-admin", State: cluster.Running, Address: c.address(c.Ports.KongAdmin)},
		{Name: "edge", State: cluster.Running, Address: c.address(c.Ports.Console)},
		{Name: "aws", State: cluster.Running, Address: c.address(c.Ports.AWS)},
	}
	for _, name := range []string{"objects", "streams", "delivery"} {
		parts = append(parts, cluster.Part{Name: name, State: data, Address: c.address(c.Ports.AWS)})
	}
	parts = append(parts, cluster.Part{Name: "sql", State: data, Address: c.address(c.Ports.SQL)})
	tell := func() []cluster.Part { return parts }
	k.parts.Store(&tell)
	k.busy.Store(&busy)
	k.drain.Store(&drain)
	k.keeper.Tell()
}

func (k *clustered) peers() []string {
	out := []string{}
	if k.mesh != nil {
		for _, p := range k.mesh.Peers() {
			out = append(out, p.Node)
		}
	}
	return out
}

// clusterTLS is how nodes prove to each other who they are; nil where they do not.
func (c *Config) clusterTLS(b *base) (server, client *tls.Config, err error) {
	k := c.Cluster
	if !k.Enabled || !k.TLS {
		return nil, nil, nil
	}
	id, err := keystore.Open(keystore.Config{KeyStore: k.KeyStore, Password: k.Password, Cert: k.Cert, Key: k.Key, CA: k.CA, Clock: b.clock, Log: b.log})
	if err != nil {
		return nil, nil, config.Invalid.Wrap(err, "cannot use the node's certificate for cluster.tls")
	}
	b.jobs.Go("the node's certificate", id.Run)
	return id.Server(), id.Client(), nil
}

func stack(c *Config) string {
	if c.Cluster.TLS {
		return "tcp-ssl"
	}
	return "tcp"
}

// ownerID is an id that a data directory keeps, at an address: a copy of the directory that
// another host runs must not pass for this node.
func ownerID(index *kv.DB, address string) (string, error) {
	key := []byte("node/id")
	raw, ok, err := index.Get(key)
	if err != nil {
		return "", err
	}
	id, err := uuid.ParseBytes(raw)
	if !ok || err != nil {
		id = uuid.New()
		if err := index.Set(key, []byte(id.String())); err != nil {
			return "", err
		}
	}
	return uuid.NewSHA1(id, []byte(address)).String(), nil
}

// addressOf is the IP address of a host, as operators want to see it.
func addressOf(ctx context.Context, host string) string {
	if net.ParseIP(host) != nil {
		return host
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil || len(ips) == 0 {
		return host
	}
	return ips[0]
}

func (c *Config) discovery(b *base) (discover.Discovery, error) {
	k := c.Cluster
	switch k.Discovery {
	case byHosts:
		hosts, err := parseHosts(k.Hosts)
		return discover.Fixed(hosts), err
	case byKubernetes:
		api := k.Kubernetes
		if api == "" {
			var err error
			if api, err = discover.APIFromEnvironment(os.Getenv); err != nil {
				return nil, config.Invalid.Field("cluster.kubernetes_api", "cluster.kubernetes_api is empty, and %s", strings.TrimPrefix(err.Error(), "discover: "))
			}
		}
		return discover.Kubernetes{API: api, Account: k.Account, Namespace: k.Namespace, Labels: k.Labels, Port: c.Ports.Cluster, Log: b.log}, nil
	}
	return discover.Multicast{Group: k.Multicast, Cluster: k.Name, Advertise: c.advertised(), Key: b.data.key("cluster"), Log: b.log}, nil
}

// listenCluster opens the port for other nodes; nil for a node alone.
func (c *Config) listenCluster() (net.Listener, error) {
	if !c.Cluster.Enabled {
		return nil, nil
	}
	host := c.Host
	if net.ParseIP(c.Cluster.Address) != nil || Loopback(c.Host) { // where the others cannot reach it
		host = c.Cluster.Address
	}
	at := net.JoinHostPort(host, strconv.Itoa(c.Ports.Cluster))
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return nil, listenError("ports.cluster", at, err)
	}
	return ln, nil
}
