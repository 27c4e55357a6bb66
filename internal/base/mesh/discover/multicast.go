package discover

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// Multicast finds nodes that announce themselves to a group on the local network.
type Multicast struct {
	// Group is the group's address and port.
	Group string
	// Cluster is the cluster's name, Advertise the address of this node.
	Cluster, Advertise string
	// Key is what announcements are authenticated with.
	Key [32]byte
	Log *slog.Logger
}

// beacon is an announcement.
type beacon struct {
	Cluster string `json:"cluster"`
	Address string `json:"address"`
	Proof   []byte `json:"proof"`
}

// How often nodes announce themselves: a newcomer is in a hurry.
const (
	quickly    = 250 * time.Millisecond
	steadily   = 5 * time.Second
	newcomer   = 5 * time.Second
	maxBeacon  = 1 << 10
	timeToLive = 2 // hops, as JGroups has it
	// maxStrangers bounds the addresses that are met of nodes that do not know the key.
	maxStrangers = 8
)

// Run announces this node and tells of others.
func (m Multicast) Run(ctx context.Context, found func(addresses ...string)) error {
	group, err := net.ResolveUDPAddr("udp4", m.Group)
	if err != nil {
		return fmt.Errorf("discover: the multicast group: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error // several nodes of one host share the port
		if err := c.Control(func(fd uintptr) { serr = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) }); err != nil {
			return err
		}
		return serr
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", group.String())
	if err != nil {
		return fmt.Errorf("discover: listening for announcements: %w", err)
	}
	conn := ipv4.NewPacketConn(pc)
	defer context.AfterFunc(ctx, func() { _ = pc.Close() })()
	defer func() { _ = pc.Close() }() // closed already where ctx ended
	interfaces, err := m.join(conn, group)
	if err != nil {
		return err
	}
	if err := errors.Join(conn.SetMulticastTTL(timeToLive), conn.SetMulticastLoopback(true)); err != nil {
		return fmt.Errorf("discover: preparing announcements: %w", err)
	}
	said, err := json.Marshal(beacon{m.Cluster, m.Advertise, m.proof(m.Advertise)})
	if err != nil {
		return err
	}
	go m.announce(ctx, conn, group, interfaces, said)
	strangers := map[string]bool{}
	buf := make([]byte, maxBeacon+1)
	for {
		n, _, _, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("discover: listening for announcements: %w", err)
		}
		var b beacon
		if n > maxBeacon || json.Unmarshal(buf[:n], &b) != nil || b.Cluster != m.Cluster || b.Address == m.Advertise {
			continue // another cluster's, or nonsense
		}
		if !hmac.Equal(b.Proof, m.proof(b.Address)) {
			// A node over another database has another key. That the two do not fit must be
			// found, so it is met; a liar's addresses cost a few connections, and no more.
			if strangers[b.Address] || len(strangers) == maxStrangers {
				continue
			}
			strangers[b.Address] = true
			m.Log.Warn("a node announces the same cluster with another key", "address", b.Address)
		}
		found(b.Address)
	}
}

// join takes part in the group on every interface that can, and returns those.
func (m Multicast) join(conn *ipv4.PacketConn, group *net.UDPAddr) ([]net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("discover: listing the network interfaces: %w", err)
	}
	var joined []net.Interface
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 {
			continue
		}
		if err := conn.JoinGroup(&i, group); err == nil {
			joined = append(joined, i)
		}
	}
	if len(joined) == 0 {
		return nil, errors.New("discover: no network interface of this host carries multicast: name the nodes in cluster.hosts, with cluster.discovery: tcp-fixed")
	}
	return joined, nil
}

func (m Multicast) announce(ctx context.Context, conn *ipv4.PacketConn, group *net.UDPAddr, interfaces []net.Interface, said []byte) {
	began := time.Now()
	for ctx.Err() == nil {
		for _, i := range interfaces {
			if err := conn.SetMulticastInterface(&i); err == nil {
				_, _ = conn.WriteTo(said, nil, group) // the next may get through
			}
		}
		wait := steadily
		if time.Since(began) < newcomer {
			wait = quickly
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (m Multicast) proof(address string) []byte {
	h := hmac.New(sha256.New, m.Key[:])
	fmt.Fprintf(h, "sluice beacon\x00%s\x00%s", m.Cluster, address)
	return h.Sum(nil)
}
