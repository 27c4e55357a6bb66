package lease

import (
	"context"
	"log/slog"
	"time"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
)

// Lease is a lock that this node holds.
type Lease struct {
	k       *Keeper
	name    string
	session string
	token   int64
	ctx     context.Context //nolint:containedctx // its end is the lease's
	end     context.CancelCauseFunc
}

// Token grows with every holder of the lease.
func (l *Lease) Token() int64 { return l.token }

// Context ends when the lease is lost or released.
func (l *Lease) Context() context.Context { return l.ctx }

// Guard is called in a transaction that only the holder may commit; a Lost error if this
// node holds the lease no more.
func (l *Lease) Guard(tx *store.Tx) error {
	h, ok := l.k.leases.Get(tx, l.name)
	if !ok || h.Session != l.session || h.Token != l.token {
		return Lost.New("the lease %q is held by another", l.name)
	}
	return nil
}

// Release gives the lease back.
func (l *Lease) Release(ctx context.Context) error {
	l.end(Lost.New("the lease was released"))
	defer l.k.forget(l)
	return l.k.deps.Store.Update(ctx, func(tx *store.Tx) error {
		tx.NeedsNoRoom()
		if l.Guard(tx) != nil {
			return nil // another's by now
		}
		_, err := l.k.leases.Delete(tx, l.name)
		return err
	})
}

// forget lets others of this process take the lease.
func (k *Keeper) forget(l *Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mine[l.name] == l {
		delete(k.mine, l.name)
		k.stir()
	}
}

// TryAcquire takes the lease if it is free; a Held error that names the holder if not.
func (k *Keeper) TryAcquire(ctx context.Context, name string) (*Lease, error) {
	if !k.reserve(name) {
		return nil, Held.New("this node holds the lease %q, or takes none", name)
	}
	l, err := k.take(ctx, name)
	if err != nil {
		k.mu.Lock()
		delete(k.mine, name)
		k.mu.Unlock()
	}
	return l, err
}

// reserve keeps other callers of this process from taking the lease too.
func (k *Keeper) reserve(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, taken := k.mine[name]; taken || k.retired {
		return false
	}
	k.mine[name] = nil
	return true
}

func (k *Keeper) take(ctx context.Context, name string) (*Lease, error) {
	session := k.sessionID()
	var token int64
	err := k.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if session != aloneSession { // one that has ended must not take anything
			if alive, err := tx.Alive(session); err != nil || !alive {
				return orElse(err, Lost.New("the node's session has ended"))
			}
		}
		if h, ok := k.leases.Get(tx, name); ok {
			// A lease of this session that nobody here holds was given up without a word
			// with the store.
			alive := false
			if h.Session != session && session != aloneSession {
				var err error
				if alive, err = tx.Alive(h.Session); err != nil {
					return err
				}
			}
			if alive {
				return Held.New("node %q holds the lease %q", h.Node, name)
			}
		}
		token = tx.Revision()
		return k.leases.Put(tx, name, &held{Node: k.cfg.Node, Session: session, Token: token, Since: tx.Now()})
	})
	if err != nil {
		return nil, err
	}
	l := &Lease{k: k, name: name, session: session, token: token}
	l.ctx, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session != nil && (k.session.ID() != session || !time.Now().Before(k.until)) {
		l.end(Lost.New("the session ended while the lease was taken"))
		return nil, context.Cause(l.ctx)
	}
	k.mine[name] = l
	return l, nil
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (k *Keeper) holds(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, taken := k.mine[name]
	return taken
}

// Acquire takes the lease, and waits while another holds it.
func (k *Keeper) Acquire(ctx context.Context, name string) (*Lease, error) {
	retry := work.Retry{Log: k.deps.Log, What: "taking the lease " + name, First: max(k.cfg.TTL/6, 100*time.Millisecond), Last: max(k.cfg.TTL, 10*time.Second)}
	for {
		k.mu.Lock()
		wake := k.wake
		k.mu.Unlock()
		wait, free := k.free(name)
		if free {
			l, err := k.TryAcquire(ctx, name)
			if err == nil {
				retry.Worked()
				return l, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if wait = max(k.cfg.TTL/6, 10*time.Millisecond); !Held.Is(err) {
				wait = retry.Failed(err)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// free reports whether it is worth the control store's lock to try for a lease, and if not,
// how long to wait unless something changes.
func (k *Keeper) free(name string) (time.Duration, bool) {
	k.mu.Lock()
	retired := k.retired
	k.mu.Unlock()
	if retired {
		return time.Hour, false
	}
	h, ok := k.leases.Get(k.deps.Store.Snapshot(), name)
	if !ok || h.Session == k.sessionID() && !k.holds(name) {
		return 0, true
	}
	for _, n := range k.Nodes() {
		if n.Session == h.Session && n.Left > 0 {
			return n.Left + time.Millisecond, false
		}
	}
	if k.cfg.TTL == 0 && h.Session == aloneSession {
		return time.Hour, false // this process holds it
	}
	return 0, true
}

// Lead runs run whenever this node holds the lease, until ctx ends. run's context ends with
// the lease. When run returns, the lease is given back and taken again after a while, by
// this node or another.
func (k *Keeper) Lead(ctx context.Context, name string, run func(context.Context, *Lease) error) error {
	retry := work.Retry{Log: k.deps.Log, What: "what holds the lease " + name, Level: slog.LevelError, First: time.Second}
	for {
		l, err := k.Acquire(ctx, name)
		if err != nil {
			return nil // ctx ended
		}
		held, stop := context.WithCancelCause(ctx)
		end := context.AfterFunc(l.ctx, func() { stop(context.Cause(l.ctx)) })
		err = run(held, l)
		end()
		stop(nil)
		if rerr := l.Release(context.WithoutCancel(ctx)); rerr != nil {
			k.deps.Log.Warn("cannot give a lease back", "lease", name, "error", rerr)
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := time.Second
		if err != nil && l.ctx.Err() == nil {
			wait = retry.Failed(err)
		} else {
			retry.Worked()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Every runs run once in each period over all nodes, until ctx ends. A run is begun at
// most once: one that a crash cut short is not made up for before its next time. The first
// is due at once.
func (k *Keeper) Every(ctx context.Context, name string, period time.Duration, run func(context.Context) error) error {
	retry := work.Retry{Log: k.deps.Log, What: "the scheduled job " + name, Level: slog.LevelError, First: period, Last: period}
	return k.Lead(ctx, "schedule "+name, func(ctx context.Context, l *Lease) error {
		for {
			var wait time.Duration
			if err := k.deps.Store.Update(ctx, func(tx *store.Tx) error {
				tx.NeedsNoRoom()
				if err := l.Guard(tx); err != nil {
					return err
				}
				if s, ok := k.schedules.Get(tx, name); ok {
					if wait = s.Last.Add(period).Sub(tx.Now()); wait > 0 {
						wait = min(wait, period)
						return nil
					}
				}
				wait = 0
				return k.schedules.Put(tx, name, &schedule{Last: tx.Now()})
			}); err != nil {
				return err
			}
			if wait == 0 {
				if err := run(ctx); err != nil {
					retry.Failed(err)
				} else {
					retry.Worked()
				}
				continue
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
		}
	})
}
