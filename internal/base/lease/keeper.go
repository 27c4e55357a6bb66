package lease

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
)

// Faults of leases.
var (
	// Held: another node holds the lease.
	Held = &fault.Reason{Kind: fault.Conflict, Name: "LeaseHeld"}
	// Lost: this node holds the lease no more.
	Lost = &fault.Reason{Kind: fault.Conflict, Name: "LeaseLost"}
)

// DefaultTTL is how long a node that says nothing keeps its leases.
const DefaultTTL = 3 * time.Second

// Config says who keeps leases.
type Config struct {
	// Node is the node's name, Owner an id that it keeps over restarts: see store.SessionConfig.
	Node, Owner string
	// TTL is how long the session lives without a renewal, which comes three times in it;
	// zero for a node alone.
	TTL time.Duration
}

// Deps is what a Keeper works with.
type Deps struct {
	Store *store.Store
	Log   *slog.Logger
	// About is what the node tells of itself with each renewal; nothing if nil.
	About func() json.RawMessage
}

// held is a lease as the control store knows it.
type held struct {
	Node    string
	Session string
	Token   int64
	Since   time.Time // by the database's clock
}

// schedule is when something was last begun.
type schedule struct{ Last time.Time }

// Keeper holds a node's session, and leases with it.
type Keeper struct {
	cfg       Config
	deps      Deps
	leases    *store.Collection[held]
	schedules *store.Collection[schedule]

	mu      sync.Mutex
	session *store.Session    // nil for a node alone
	until   time.Time         // the session surely lives until then
	late    *time.Timer       // calls expire at until
	mine    map[string]*Lease // held under session; nil while it is being taken
	nodes   []store.Node      // as of seen
	seen    time.Time
	retired bool          // takes no leases
	wake    chan struct{} // closed and replaced when leases or nodes change
	news    chan struct{} // something about the node has changed
}

// aloneSession stands for the one process of a node alone; a session of a cluster never
// has this name, so a cluster takes over what a node alone held.
const aloneSession = "alone"

// New begins the node's session. Run must be called to renew it. A name that is taken may be
// that of this node's last process, which was killed: New waits as long as its session could
// live, and then returns a store.NameTaken error.
func New(ctx context.Context, c Config, d Deps) (*Keeper, error) {
	if d.About == nil {
		d.About = func() json.RawMessage { return nil }
	}
	k := &Keeper{cfg: c, deps: d, mine: map[string]*Lease{}, wake: make(chan struct{}), news: make(chan struct{}, 1),
		leases: store.Register[held](d.Store, "leases"), schedules: store.Register[schedule](d.Store, "schedules")}
	if c.TTL == 0 {
		return k, nil
	}
	for until := time.Now().Add(c.TTL + c.TTL/3); ; {
		err := k.begin(ctx)
		if err == nil {
			return k, k.look(ctx)
		}
		if !store.NameTaken.Is(err) || time.Now().After(until) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(c.TTL / 10):
		}
	}
}

// begin opens a session.
func (k *Keeper) begin(ctx context.Context) error {
	asked := time.Now()
	ses, err := k.deps.Store.OpenSession(ctx, store.SessionConfig{Name: k.cfg.Node, Owner: k.cfg.Owner, TTL: k.cfg.TTL, About: k.deps.About()})
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.session = ses
	k.mu.Unlock()
	k.extend(asked)
	return nil
}

// extend notes a renewal that was asked for at a time, which the database's can only follow.
func (k *Keeper) extend(asked time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = asked.Add(k.cfg.TTL)
	if k.late == nil {
		k.late = time.AfterFunc(time.Until(k.until), k.expire)
	}
	k.late.Reset(time.Until(k.until))
}

// expire ends the leases when the session may have ended. It waits for no word with the
// database that hangs.
func (k *Keeper) expire() {
	k.mu.Lock()
	early := time.Until(k.until)
	k.mu.Unlock()
	if early > 0 {
		return // extended at this moment
	}
	k.drop("the control store does not answer")
}

// Look reads which nodes live, as Run does three times in the TTL.
func (k *Keeper) Look(ctx context.Context) error {
	if k.cfg.TTL == 0 {
		return nil
	}
	return k.look(ctx)
}

func (k *Keeper) look(ctx context.Context) error {
	asked := time.Now()
	nodes, err := k.deps.Store.Nodes(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.nodes, k.seen = nodes, asked
	k.stir()
	k.mu.Unlock()
	return nil
}

// stir wakes who waits for a lease; k.mu is held.
func (k *Keeper) stir() {
	close(k.wake)
	k.wake = make(chan struct{})
}

// Run renews the session until ctx ends; when it was lost, another is begun.
func (k *Keeper) Run(ctx context.Context) error {
	cancel := k.deps.Store.Subscribe(func(_ *store.Snapshot, changes []store.Change) {
		if len(changes) > 0 && !anyOf(changes, "leases") {
			return
		}
		k.mu.Lock()
		k.stir()
		k.mu.Unlock()
	})
	defer cancel()
	if k.cfg.TTL == 0 {
		<-ctx.Done()
		return nil
	}
	renew := time.NewTicker(k.cfg.TTL / 3)
	defer renew.Stop()
	retry := work.Retry{Log: k.deps.Log, What: "renewing the node's session", First: k.cfg.TTL / 3, Last: k.cfg.TTL / 3}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-renew.C:
		case <-k.news:
		}
		// A word that does not come back must not keep the next from being said.
		say, done := context.WithTimeout(ctx, k.cfg.TTL/2)
		err := k.renew(say)
		if err == nil {
			err = k.look(say)
		}
		done()
		if err == nil {
			retry.Worked()
		} else if ctx.Err() == nil {
			retry.Failed(err)
		}
	}
}

// Tell has Run say at once what About says now.
func (k *Keeper) Tell() {
	select {
	case k.news <- struct{}{}:
	default: // it is about to
	}
}

func anyOf(changes []store.Change, collection string) bool {
	for _, c := range changes {
		if c.Collection == collection {
			return true
		}
	}
	return false
}

func (k *Keeper) renew(ctx context.Context) error {
	k.mu.Lock()
	ses := k.session
	k.mu.Unlock()
	asked := time.Now()
	err := ses.Renew(ctx, k.deps.About())
	switch {
	case err == nil:
		k.extend(asked)
	case store.SessionLost.Is(err):
		k.drop("the session was not renewed in time")
		return k.begin(ctx)
	}
	return err
}

// drop ends all leases of this node.
func (k *Keeper) drop(why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, l := range k.mine {
		if l == nil {
			continue // who takes it finds out
		}
		delete(k.mine, name)
		k.deps.Log.Warn("a lease is lost", "lease", l.name, "token", l.token, "why", why)
		l.end(Lost.New("%s", why))
	}
	k.stir()
}

// Retire makes the node give its leases back and take none until it is called with false.
func (k *Keeper) Retire(ctx context.Context, on bool) {
	k.mu.Lock()
	k.retired = on
	var leases []*Lease
	for _, l := range k.mine {
		if on && l != nil {
			leases = append(leases, l)
		}
	}
	k.stir()
	k.mu.Unlock()
	for _, l := range leases {
		if err := l.Release(ctx); err != nil {
			k.deps.Log.Warn("cannot give a lease back", "lease", l.name, "error", err)
		}
	}
}

// sessionID names what leases are held with.
func (k *Keeper) sessionID() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session == nil {
		return aloneSession
	}
	return k.session.ID()
}

// Session is the id of the node's session as it is now.
func (k *Keeper) Session() string { return k.sessionID() }

// Close releases all leases and ends the session, so that others need not wait.
func (k *Keeper) Close(ctx context.Context) error {
	k.mu.Lock()
	ses := k.session
	if k.late != nil {
		k.late.Stop()
	}
	k.mu.Unlock()
	k.drop("the node stops")
	session := k.sessionID()
	err := k.deps.Store.Update(ctx, func(tx *store.Tx) error {
		for name, h := range k.leases.All(tx, "") {
			if h.Session == session {
				if _, err := k.leases.Delete(tx, name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if ses == nil {
		return err
	}
	return errors.Join(err, ses.Close(ctx))
}

// Nodes are the nodes that have or had a session, as of the last look.
func (k *Keeper) Nodes() []store.Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]store.Node, len(k.nodes))
	for i, n := range k.nodes {
		n.Left -= time.Since(k.seen)
		out[i] = n
	}
	return out
}

// Holding is a lease that some node holds.
type Holding struct {
	Name  string    `json:"name"`
	Node  string    `json:"node"`
	Token int64     `json:"token"`
	Since time.Time `json:"since"`
}

// Holdings lists the leases that are held, or were when their holder died, by name.
func (k *Keeper) Holdings() []Holding {
	out := []Holding{}
	for name, h := range k.leases.All(k.deps.Store.Snapshot(), "") {
		out = append(out, Holding{Name: name, Node: h.Node, Token: h.Token, Since: h.Since})
	}
	return out
}
