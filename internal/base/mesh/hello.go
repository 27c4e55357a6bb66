package mesh

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/fault"
)

// Faults of the mesh.
var (
	// Refused: two nodes do not fit together; the message names the keys.
	Refused = &fault.Reason{Kind: fault.Conflict, Name: "PeerRefused"}
	// NoPeer: the node is not connected.
	NoPeer = &fault.Reason{Kind: fault.Unavailable, Name: "NoSuchPeer"}
)

// Bounds of the handshake.
const (
	protocol      = 1
	helloTimeout  = 5 * time.Second
	maxHello      = 256 << 10
	maxKnownHosts = 256
	maxKeys       = 1024
	maxNamed      = 20  // keys that a refusal names
	maxWord       = 512 // bytes of a name, an address, a key or a digest
)

// hello is what each side says first.
type hello struct {
	Protocol   int               `json:"protocol"`
	Cluster    string            `json:"cluster"`
	Node       string            `json:"node"`
	Session    string            `json:"session"`
	Address    string            `json:"address"` // where it can be dialled
	Version    string            `json:"version"`
	Database   string            `json:"database"` // its instance
	Generation int               `json:"generation"`
	Digests    map[string]string `json:"digests"` // of the cluster's configuration keys
	KeyID      string            `json:"key_id"`  // tells keys apart, and nothing else of them
	Joined     bool              `json:"joined"`  // it serves already
	Hosts      []string          `json:"hosts"`   // addresses of nodes it knows
	Nonce      []byte            `json:"nonce"`
}

// valid reports whether what a stranger says is within bounds: some of it is kept and logged.
func (h *hello) valid() bool {
	words := append([]string{h.Cluster, h.Node, h.Session, h.Address, h.Version, h.Database, h.KeyID}, h.Hosts...)
	for k, v := range h.Digests {
		words = append(words, k, v)
	}
	return h.Node != "" && h.Session != "" && len(h.Nonce) >= 16 && len(h.Hosts) <= maxKnownHosts && len(h.Digests) <= maxKeys &&
		!slices.ContainsFunc(words, func(w string) bool { return len(w) > maxWord })
}

// verdict is what each side thinks of the other.
type verdict struct {
	Refusal string `json:"refusal,omitempty"`
	Proof   []byte `json:"proof,omitempty"` // that it knows the cluster's key
}

// refuse says why two nodes may not work together, or "".
func refuse(mine, theirs *hello) string {
	switch {
	case theirs.Protocol != protocol:
		return fmt.Sprintf("the nodes speak different protocols, %d and %d: upgrade one release at a time", mine.Protocol, theirs.Protocol)
	case theirs.Cluster != mine.Cluster:
		return fmt.Sprintf("cluster.name differs: %q and %q", mine.Cluster, theirs.Cluster)
	case theirs.Node == mine.Node:
		return fmt.Sprintf("two nodes are called %q: set cluster.node", mine.Node)
	}
	if mine.Generation == theirs.Generation {
		if keys := Differing(mine.Digests, theirs.Digests, mine.KeyID == theirs.KeyID); len(keys) > 0 {
			more := ""
			if n := len(keys) - maxNamed; n > 0 {
				keys, more = keys[:maxNamed], fmt.Sprintf(" and %d more", n)
			}
			return "these keys differ: " + strings.Join(keys, ", ") + more
		}
	}
	if theirs.Database != mine.Database {
		return "the nodes do not use the same database, though store.url may read alike"
	}
	return ""
}

// Differing lists the keys whose digests are not the same. Those of secrets, which begin with
// a star, are compared only if secrets says that both were made with one key.
func Differing(a, b map[string]string, secrets bool) []string {
	var keys []string
	for k, v := range a {
		if b[k] != v && (secrets || !strings.HasPrefix(v, "*")) {
			keys = append(keys, k)
		}
	}
	for k, v := range b {
		if _, ok := a[k]; !ok && (secrets || !strings.HasPrefix(v, "*")) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// shake says hello on a new connection. refusal is not nil if either side refuses the other.
func (m *Mesh) shake(conn net.Conn, dialled bool) (theirs *hello, refusal, err error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, nil, err
	}
	mine := m.hello()
	said, err := json.Marshal(mine)
	if err != nil {
		return nil, nil, err
	}
	// Both sides write first: a frame is smaller than what a socket takes, or the deadline ends it.
	wrote := make(chan error, 1)
	go func() { wrote <- writeFrame(conn, said) }()
	heard, err := readFrame(conn, maxHello)
	if werr := <-wrote; err == nil {
		err = werr
	}
	if err != nil {
		return nil, nil, err
	}
	theirs = new(hello)
	if err := json.Unmarshal(heard, theirs); err != nil {
		return nil, nil, fmt.Errorf("mesh: what a peer said cannot be read: %w", err)
	}
	if theirs.Session == mine.Session {
		return theirs, nil, errSelf
	}
	if !theirs.valid() {
		return nil, nil, errors.New("mesh: what a peer said is not valid")
	}
	first, second := said, heard
	if !dialled {
		first, second = heard, said
	}
	reason := refuse(mine, theirs)
	v := verdict{Refusal: reason}
	if reason == "" {
		v.Proof = m.prove(dialled, first, second)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, nil, err
	}
	go func() { wrote <- writeFrame(conn, text) }()
	raw, err := readFrame(conn, maxHello)
	if werr := <-wrote; err == nil {
		err = werr
	}
	var their verdict
	if err == nil {
		err = json.Unmarshal(raw, &their)
	}
	switch {
	case reason != "":
		return theirs, Refused.New("node %q at %s: %s", theirs.Node, theirs.Address, reason), nil
	case err != nil:
		return theirs, nil, err
	case their.Refusal != "":
		return theirs, Refused.New("node %q at %s refuses this one: %.4096s", theirs.Node, theirs.Address, their.Refusal), nil
	case !hmac.Equal(their.Proof, m.prove(!dialled, first, second)):
		return theirs, Refused.New("node %q at %s does not know the cluster's key", theirs.Node, theirs.Address), nil
	}
	return theirs, nil, conn.SetDeadline(time.Time{})
}

// prove shows knowledge of the cluster's key, for one side of one handshake.
func (m *Mesh) prove(dialled bool, first, second []byte) []byte {
	h := hmac.New(sha256.New, m.cfg.Key[:])
	side := "sluice mesh accepted"
	if dialled {
		side = "sluice mesh dialled"
	}
	for _, part := range [][]byte{[]byte(side), first, second} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return h.Sum(nil)
}

func (m *Mesh) hello() *hello {
	h := &hello{Protocol: protocol, Cluster: m.cfg.Cluster, Node: m.cfg.Node, Session: m.id, Address: m.cfg.Advertise,
		Version: m.cfg.Version, Database: m.cfg.Database, Generation: m.cfg.Generation, Digests: m.cfg.Digests, Nonce: make([]byte, 24)}
	id := hmac.New(sha256.New, m.cfg.Key[:])
	id.Write([]byte("sluice mesh key"))
	h.KeyID = hex.EncodeToString(id.Sum(nil)[:4])
	_, _ = rand.Read(h.Nonce) // never fails
	m.mu.Lock()
	defer m.mu.Unlock()
	h.Joined = m.joined
	for address := range m.hosts {
		h.Hosts = append(h.Hosts, address)
	}
	return h
}

// errForeign is what a first frame of impossible length means.
var errForeign = errors.New("mesh: the other side does not speak the mesh's protocol")

func writeFrame(w io.Writer, body []byte) error {
	buf := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(buf, uint32(len(body)))
	_, err := w.Write(append(buf, body...))
	return err
}

func readFrame(r io.Reader, limit int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > uint32(limit) {
		if size[0] == 22 && size[1] == 3 { // a TLS handshake record
			return nil, fmt.Errorf("%w: it speaks TLS, and this node does not", errForeign)
		}
		return nil, fmt.Errorf("%w: a frame of %d bytes", errForeign, n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return body, err
}
