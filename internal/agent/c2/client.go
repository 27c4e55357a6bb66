package c2

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/agent/manifest"
	agentstate "sluice.dev/sluice/internal/agent/state"
	"sluice.dev/sluice/internal/base/clock"
)

// The paths behind a server's URL.
const (
	heartbeatPath = "/c2-protocol/heartbeat"
	ackPath       = "/c2-protocol/acknowledge"
)

// Config says who the agent is and where its servers are.
type Config struct {
	URLs      []string // https://node:10090/efm/api
	Identity  agentstate.Identity
	Heartbeat time.Duration // 5 s if zero
	Backoff   time.Duration // longest wait after failures; a minute if zero
}

// Deps is what a client works with.
type Deps struct {
	Engine   *engine.Engine
	State    *agentstate.Dir
	Manifest *manifest.Manifest
	// Sensitive names the properties of a type whose values are in no debug bundle.
	Sensitive func(componentType string) []string
	HTTP      func() *http.Client
	Restart   func() // called once the acknowledgement of RESTART is kept
	Level     *slog.LevelVar
	Log       *slog.Logger
	Clock     clock.Clock
}

// Client is the agent's side of the protocol.
type Client struct {
	cfg     Config
	d       Deps
	log     *slog.Logger
	net     *transport
	began   time.Time
	pending chan operation

	mu      sync.Mutex
	flowID  string
	props   map[string]string
	hash    string // of resources, by SYNC
	sent    int64  // the last bulletin that a server took
	done    map[string][]byte
	order   []string // of done
	working map[string]bool
	poke    chan struct{}
}

// maxDone is how many operations are remembered in case they come again.
const maxDone = 500

// New prepares a client. The flow that was applied last must run already, if it can.
func New(c Config, d Deps) (*Client, error) {
	if c.Heartbeat == 0 {
		c.Heartbeat = 5 * time.Second
	}
	if c.Backoff == 0 {
		c.Backoff = time.Minute
	}
	net, err := newTransport(c.URLs, d.HTTP)
	if err != nil {
		return nil, err
	}
	props, err := d.State.Properties()
	if err != nil {
		return nil, err
	}
	applied, err := d.State.Flow()
	if err != nil {
		return nil, err
	}
	var kept resources
	if err := d.State.Resources(&kept); err != nil {
		return nil, err
	}
	cl := &Client{cfg: c, d: d, log: d.Log, net: net, began: d.Clock.Now(), pending: make(chan operation, maxOperations), props: props, hash: kept.Hash,
		done: map[string][]byte{}, working: map[string]bool{}, poke: make(chan struct{}, 1)}
	if applied != nil && d.Engine.Flow() != nil { // else it is to be sent again
		cl.flowID = applied.ID
	}
	cl.setLevel()
	return cl, nil
}

// Run speaks with the servers until ctx ends. What is at work then is finished; that is,
// Run returns when the agent may be stopped.
func (c *Client) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { c.work(ctx) })
	all.Go(func() { c.deliver(ctx) })
	c.beat(ctx)
	all.Wait()
}

// beat sends heartbeats.
func (c *Client) beat(ctx context.Context) {
	full, failures := true, 0
	for ctx.Err() == nil {
		err := c.once(ctx, full || c.property(propFull) == "true")
		switch {
		case err == nil:
			if failures > 0 {
				c.log.Info("a server answers again", "failures", failures)
			}
			full, failures = false, 0
		case ctx.Err() != nil:
			return
		default:
			if failures++; failures == 1 {
				c.log.Warn("no server takes the heartbeat", "error", err)
			}
		}
		wait(ctx, c.pause(failures), nil)
	}
}

// pause is the time to the next heartbeat: the period, or after failures one that doubles up
// to the longest, less up to a half of it by chance.
func (c *Client) pause(failures int) time.Duration {
	if failures == 0 {
		return c.period()
	}
	d := min(time.Second<<min(failures-1, 20), c.cfg.Backoff)
	return d - rand.N(d/2+1)
}

func (c *Client) period() time.Duration {
	if ms, err := strconv.Atoi(c.property(propPeriod)); err == nil {
		return time.Duration(ms) * time.Millisecond
	}
	return c.cfg.Heartbeat
}

func (c *Client) property(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.props[name]
}

// wait waits for d, for ctx or for a poke.
func wait(ctx context.Context, d time.Duration, poke <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-poke:
	}
}

// once sends one heartbeat and takes the operations of its answer.
func (c *Client) once(ctx context.Context, full bool) error {
	h := &heartbeat{ID: uuid.NewString(), Created: c.d.Clock.Now().UnixMilli(), Device: device(), Agent: c.agent(full), Flow: c.flow(), Resource: c.resource()}
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	raw, err := c.net.post(ctx, heartbeatPath, body, c.property(propCompress) != "none")
	if err != nil {
		return err
	}
	if n := len(h.Flow.Bulletins); n > 0 {
		c.mu.Lock()
		c.sent = h.Flow.Bulletins[n-1].ID
		c.mu.Unlock()
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return Garbage.Wrap(err, "the answer to a heartbeat is not understood")
	}
	if len(a.Operations) > maxOperations {
		return Garbage.New("the answer to a heartbeat has %d operations", len(a.Operations))
	}
	for _, o := range a.Operations {
		c.accept(o)
	}
	return nil
}

// accept queues an operation, unless it is done or at work already.
func (c *Client) accept(o operation) {
	if o.ID == "" || len(o.ID) > 200 {
		c.log.Warn("an operation has no usable identifier", "operation", o.Operation)
		return
	}
	c.mu.Lock()
	again, known := c.done[o.ID]
	busy := c.working[o.ID]
	if !known && !busy {
		select {
		case c.pending <- o:
			c.working[o.ID] = true
		default: // the server asks again
		}
	}
	c.mu.Unlock()
	if known {
		c.keep(again)
	}
}

// work does the operations, one after the other.
func (c *Client) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-c.pending:
			c.log.Info("an operation", "operation", o.Operation, "operand", o.Operand, "operation_id", o.ID)
			a := ack{OperationID: o.ID}
			then := c.do(ctx, &o, &a)
			if ctx.Err() != nil && a.State.State != fullyApplied { // it was cut short: the server asks again
				return
			}
			if a.State.State == notApplied {
				c.log.Warn("an operation was not applied", "operation", o.Operation, "operand", o.Operand, "details", a.State.Details)
			}
			c.finish(&a)
			if then != nil {
				then()
			}
		}
	}
}

// finish keeps the acknowledgement of an operation and remembers it.
func (c *Client) finish(a *ack) {
	body, err := json.Marshal(a)
	if err != nil {
		c.log.Error("an acknowledgement cannot be written", "error", err)
		return
	}
	c.mu.Lock()
	delete(c.working, a.OperationID)
	c.done[a.OperationID] = body
	c.order = append(c.order, a.OperationID)
	if len(c.order) > maxDone {
		delete(c.done, c.order[0])
		c.order = c.order[1:]
	}
	c.mu.Unlock()
	c.keep(body)
}

func (c *Client) keep(body []byte) {
	if err := c.d.State.PutAck(body); err != nil {
		c.log.Error("an acknowledgement cannot be kept", "error", err)
	}
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// deliver sends what acknowledgements there are, in order, until servers have taken them.
func (c *Client) deliver(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		err := c.deliverAll(ctx)
		switch {
		case err == nil:
			failures = 0
			wait(ctx, time.Minute, c.poke)
		case ctx.Err() != nil:
			return
		default:
			failures++
			c.log.Warn("an acknowledgement is not delivered; it is sent again", "error", err)
			wait(ctx, c.pause(failures), nil)
		}
	}
}

func (c *Client) deliverAll(ctx context.Context) error {
	list, err := c.d.State.Acks()
	if err != nil {
		return err
	}
	for _, a := range list {
		_, err := c.net.post(ctx, ackPath, a.Body, c.property(propCompress) != "none")
		if Refused.Is(err) { // the operation is no more; to say it again would change nothing
			c.log.Warn("a server refuses an acknowledgement", "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
		if err := c.d.State.DropAck(a.Seq); err != nil {
			return err
		}
	}
	return nil
}

// Flush tries once more to deliver what acknowledgements there are.
func (c *Client) Flush(ctx context.Context) error { return c.deliverAll(ctx) }
