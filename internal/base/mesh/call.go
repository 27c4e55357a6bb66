package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"sluice.dev/sluice/internal/base/fault"
)

// Handler answers a call from a node.
type Handler func(ctx context.Context, from string, body []byte) ([]byte, error)

// OnCall answers calls of a topic. Call it before Run.
func (m *Mesh) OnCall(topic string, h Handler) { m.calls[topic] = h }

// remoteReasons are the reasons of faults that peers answer with: one for each kind.
var remoteReasons = func() map[fault.Kind]*fault.Reason {
	out := map[fault.Kind]*fault.Reason{}
	for k := fault.Internal; k <= fault.Canceled; k++ {
		out[k] = &fault.Reason{Kind: k, Name: "Remote"}
	}
	return out
}()

// Call asks a node and waits for its answer, a minute at most. What the node answers with
// as a fault is returned as one of the same kind; NoPeer if it is not connected.
func (m *Mesh) Call(ctx context.Context, node, topic string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	s, err := m.stream(ctx, node, opening{Kind: "call", Topic: topic})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // all was read
	defer context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Now()) })()
	if err := writeFrame(s, body); err != nil {
		return nil, orCanceled(ctx, NoPeer.Wrap(err, "node %q cannot be reached", node))
	}
	if err := readAnswer(s, node); err != nil {
		return nil, orCanceled(ctx, err)
	}
	out, err := readFrame(s, maxMessage)
	if err != nil {
		return nil, orCanceled(ctx, NoPeer.Wrap(err, "node %q did not answer", node))
	}
	return out, nil
}

// askWithin is how long Ask waits for the slowest node.
const askWithin = 2 * time.Second

// Ask asks all peers at once and returns the answers that came in time, by node.
func (m *Mesh) Ask(ctx context.Context, topic string, body []byte) map[string][]byte {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	out := map[string][]byte{}
	for _, p := range m.Peers() {
		all.Go(func() {
			if answer, err := m.Call(ctx, p.Node, topic, body); err == nil {
				mu.Lock()
				defer mu.Unlock()
				out[p.Node] = answer
			}
		})
	}
	all.Wait()
	return out
}

func orCanceled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func readAnswer(s *yamux.Stream, node string) error {
	raw, err := readFrame(s, maxHello)
	if err != nil {
		return NoPeer.Wrap(err, "node %q did not answer", node)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return NoPeer.Wrap(err, "node %q did not answer as it should", node)
	}
	if a.Name == "" {
		return nil
	}
	reason := remoteReasons[a.Fault]
	if reason == nil {
		reason = remoteReasons[fault.Internal]
	}
	return reason.Field(a.Field, "%s", a.Message)
}

func writeAnswer(s *yamux.Stream, err error) error {
	var a answer
	if err != nil {
		a = answer{Fault: fault.KindOf(err), Name: "error", Field: fault.FieldOf(err), Message: fault.MessageOf(err)}
		if r := fault.ReasonOf(err); r != nil {
			a.Name = r.Name
		}
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeFrame(s, raw)
}

func (m *Mesh) answerCall(from, topic string, s *yamux.Stream) {
	_ = s.SetDeadline(time.Now().Add(callLimit))
	body, err := readFrame(s, maxMessage)
	if err != nil {
		return
	}
	m.mu.Lock()
	h := m.calls[topic]
	m.mu.Unlock()
	var out []byte
	if h == nil {
		err = remoteReasons[fault.Unsupported].New("the node answers no calls on %q", topic)
	} else {
		ctx, cancel := context.WithTimeout(m.ctx, callLimit)
		out, err = h(ctx, from, body)
		cancel()
	}
	if writeAnswer(s, err) != nil || err != nil {
		return
	}
	_ = writeFrame(s, out) // who asked is gone if it fails
}

// Dial connects to a service of a node.
func (m *Mesh) Dial(ctx context.Context, node, service string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	s, err := m.stream(ctx, node, opening{Kind: "conn", Topic: service})
	if err != nil {
		return nil, err
	}
	if err := readAnswer(s, node); err != nil {
		_ = s.Close() // the answer is the error that counts
		return nil, err
	}
	return conn{s}, s.SetDeadline(time.Time{})
}

// conn is a stream that keeps to what net.Conn says of deadlines: an error for one that has
// passed is os.ErrDeadlineExceeded. That of a stream is another.
type conn struct{ *yamux.Stream }

// Read reads what the peer sent.
func (c conn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	return n, orExceeded(err)
}

// Write sends to the peer.
func (c conn) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	return n, orExceeded(err)
}

func orExceeded(err error) error {
	if errors.Is(err, yamux.ErrTimeout) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Listen takes connections of peers to a service, until Run ends. Call it before Run.
func (m *Mesh) Listen(service string) net.Listener {
	l := &listener{m: m, conns: make(chan net.Conn), done: make(chan struct{})}
	m.services[service] = l
	return l
}

// listener hands out the connections to one service.
type listener struct {
	m     *Mesh
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (m *Mesh) answerDial(_, service string, s *yamux.Stream) {
	m.mu.Lock()
	l := m.services[service]
	m.mu.Unlock()
	if l == nil {
		_ = writeAnswer(s, remoteReasons[fault.Unavailable].New("the node does not serve %q", service))
		return
	}
	if writeAnswer(s, nil) != nil {
		return
	}
	served := &taken{conn: conn{s}, closed: make(chan struct{})}
	select {
	case l.conns <- served:
	case <-l.done:
		return
	case <-time.After(helloTimeout):
		return
	}
	// The stream counts against the peer's limit until it is closed.
	select {
	case <-served.closed:
	case <-m.ctx.Done():
	}
}

// taken is a connection that a service works on.
type taken struct {
	conn
	once   sync.Once
	closed chan struct{}
}

// Close ends the connection.
func (t *taken) Close() error {
	t.once.Do(func() { close(t.closed) })
	return t.Stream.Close()
}

// Accept waits for a connection of a peer.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends the service.
func (l *listener) Close() error {
	l.shut()
	return nil
}

func (l *listener) shut() { l.once.Do(func() { close(l.done) }) }

// Addr is the node's own address in the cluster.
func (l *listener) Addr() net.Addr { return l.m.deps.Listener.Addr() }
