package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/hashicorp/yamux"

	"sluice.dev/sluice/internal/base/fault"
)

// Bounds of a connection between nodes.
const (
	maxMessage = 32 << 20 // of a call or its answer
	maxCast    = 64 << 10
	castQueue  = 256 // casts that wait for a peer; more are lost
	maxStreams = 512 // calls and connections from one peer at one time
	callLimit  = time.Minute
)

// peer is a connected node. It may be connected twice, as both sides dial.
type peer struct {
	Peer
	id       string // of the process
	sessions []*yamux.Session
	news     chan message
}

type message struct {
	topic string
	body  []byte
}

// opening is a stream's first frame.
type opening struct {
	Kind  string `json:"kind"` // cast, call or conn
	Topic string `json:"topic,omitempty"`
}

// answer is a call's first frame back, and a connection's.
type answer struct {
	Fault   fault.Kind `json:"fault,omitempty"`
	Name    string     `json:"name,omitempty"` // of the reason; empty if all is well
	Field   string     `json:"field,omitempty"`
	Message string     `json:"message,omitempty"`
}

func settings() *yamux.Config {
	c := yamux.DefaultConfig()
	// A peer that is cut off is found dead within three seconds.
	c.KeepAliveInterval = time.Second
	c.ConnectionWriteTimeout = 2 * time.Second
	c.StreamOpenTimeout = 5 * time.Second
	c.StreamCloseTimeout = time.Minute
	c.AcceptBacklog = 256
	c.MaxStreamWindowSize = 1 << 20
	c.LogOutput, c.Logger = nil, log.New(io.Discard, "", 0) // how a session ended is in its error
	return c
}

// serve multiplexes a greeted connection until it ends.
func (m *Mesh) serve(conn net.Conn, dialled bool, theirs *hello) error {
	open := yamux.Server
	if dialled {
		open = yamux.Client
	}
	ses, err := open(conn, settings())
	if err != nil {
		return err
	}
	p := m.arrive(theirs, ses)
	defer m.leave(p, ses)
	busy := make(chan struct{}, maxStreams)
	for {
		stream, err := ses.AcceptStream()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, yamux.ErrSessionShutdown) {
				return nil
			}
			return err
		}
		select {
		case busy <- struct{}{}:
			m.running.Go(func() {
				defer func() { <-busy }()
				m.answer(p.Node, stream)
			})
		default:
			_ = stream.Close() // the peer has more under way than it may
		}
	}
}

func (m *Mesh) arrive(theirs *hello, ses *yamux.Session) *peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[theirs.Node]
	if p != nil && p.id != theirs.Session { // it was started again, and the old connection does not know yet
		p.close()
		p = nil
	}
	if p == nil {
		p = &peer{Peer: Peer{Node: theirs.Node, Session: theirs.Session, Address: theirs.Address, Version: theirs.Version, Since: time.Now()},
			id: theirs.Session, news: make(chan message, castQueue)}
		m.peers[theirs.Node] = p
		news := p.news // p may have left again when it is told
		m.running.Go(func() { m.tellNews(p.Node, news) })
		m.deps.Log.Info("a node is connected", "node", p.Node, "address", p.Address, "version", p.Version)
		m.stir()
	}
	p.sessions = append(p.sessions, ses)
	return p
}

// stir tells of peers that came or went; m.mu is held.
func (m *Mesh) stir() {
	for _, fn := range m.changed {
		m.running.Go(fn)
	}
}

func (m *Mesh) leave(p *peer, ses *yamux.Session) {
	_ = ses.Close() // it ended
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range p.sessions {
		if s == ses {
			p.sessions = append(p.sessions[:i:i], p.sessions[i+1:]...)
			break
		}
	}
	if len(p.sessions) > 0 || p.news == nil {
		return
	}
	close(p.news)
	p.news = nil
	if m.peers[p.Node] == p {
		delete(m.peers, p.Node)
		if m.ctx.Err() == nil {
			m.deps.Log.Warn("a node is not connected any more", "node", p.Node, "address", p.Address)
		}
	}
	m.stir()
}

// close ends all connections; m.mu is held.
func (p *peer) close() {
	for _, s := range p.sessions {
		go s.Close() // waits for the connection's own loops
	}
}

// stream opens a stream to a node.
func (m *Mesh) stream(ctx context.Context, node string, o opening) (*yamux.Stream, error) {
	m.mu.Lock()
	var sessions []*yamux.Session
	if p := m.peers[node]; p != nil {
		sessions = append(sessions, p.sessions...)
	}
	m.mu.Unlock()
	first, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var last error
	for i := len(sessions) - 1; i >= 0; i-- { // the newest first: an older may be dead
		s, err := sessions[i].OpenStream()
		if err == nil {
			if deadline, ok := ctx.Deadline(); ok {
				_ = s.SetDeadline(deadline) // fails on a closed stream, as the write then does
			}
			if err = writeFrame(s, first); err == nil {
				return s, nil
			}
			_ = s.Close() // the write's error is the one that counts
		}
		last = err
	}
	if last != nil {
		return nil, NoPeer.Wrap(last, "node %q cannot be reached", node)
	}
	return nil, NoPeer.New("node %q is not connected", node)
}

// tellNews sends casts to a peer, in order, until news is closed.
func (m *Mesh) tellNews(node string, news <-chan message) {
	var s *yamux.Stream
	defer func() {
		if s != nil {
			_ = s.Close() // the peer is gone
		}
	}()
	for n := range news {
		for range 2 {
			if s == nil {
				var err error
				if s, err = m.stream(m.ctx, node, opening{Kind: "cast"}); err != nil {
					break // lost, as casts may be
				}
			}
			if writeFrame(s, []byte(n.topic)) == nil && writeFrame(s, n.body) == nil {
				break
			}
			_ = s.Close() // another connection may do
			s = nil
		}
	}
}

// answer serves a stream that a peer opened.
func (m *Mesh) answer(from string, s *yamux.Stream) {
	defer func() { _ = s.Close() }() // closed already where a service took it
	_ = s.SetReadDeadline(time.Now().Add(helloTimeout))
	raw, err := readFrame(s, maxHello)
	var o opening
	if err != nil || json.Unmarshal(raw, &o) != nil {
		return
	}
	_ = s.SetReadDeadline(time.Time{})
	switch o.Kind {
	case "cast":
		m.hear(from, s)
	case "call":
		m.answerCall(from, o.Topic, s)
	case "conn":
		m.answerDial(from, o.Topic, s)
	}
}

func (m *Mesh) hear(from string, s *yamux.Stream) {
	for {
		topic, err := readFrame(s, maxCast)
		if err != nil {
			return
		}
		body, err := readFrame(s, maxCast)
		if err != nil {
			return
		}
		m.mu.Lock()
		fn := m.casts[string(topic)]
		m.mu.Unlock()
		if fn != nil {
			fn(from, body)
		}
	}
}

// OnCast calls fn with each cast of a topic, one at a time per sender. Call it before Run.
func (m *Mesh) OnCast(topic string, fn func(from string, body []byte)) { m.casts[topic] = fn }

// Cast sends a message of at most 64 KiB to all peers. It waits for nothing; to a peer that
// takes its messages too slowly it gets lost.
func (m *Mesh) Cast(topic string, body []byte) {
	if len(body) > maxCast || len(topic) > maxCast {
		panic(fmt.Sprintf("mesh: a cast of %d bytes on %q", len(body), topic))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		select {
		case p.news <- message{topic, body}:
		default:
		}
	}
}
