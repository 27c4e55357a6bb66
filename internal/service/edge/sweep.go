package edge

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// How often the platform looks after agents that nobody hears.
const (
	sweepEvery = 15 * time.Second
	cleanEvery = time.Hour
	keepEvents = 31 * 24 * time.Hour
	staleClaim = 30 * time.Second
)

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sweep finds the agents that no node hears any more. A row that was not written for a while
// says nothing yet: an agent that changes nothing writes nothing. So the nodes are asked.
func (s *Service) sweep(ctx context.Context) error {
	after := store.Place{}
	for {
		rows, err := s.store.agents.Scan(ctx, store.Scan{Older: s.shortest(), After: after})
		if err != nil || len(rows) == 0 {
			return err
		}
		var doubtful []string
		byID := map[string]*Agent{}
		for _, r := range rows {
			after = r.Place
			if r.Doc.Presence == Online {
				doubtful = append(doubtful, r.Key)
				byID[r.Key] = r.Doc
			}
		}
		heard := s.lastHeard(ctx, doubtful)
		var young []string
		for _, id := range doubtful {
			silence := s.silence(byID[id].Class)
			if age, ok := heard[id]; ok && age < silence {
				young = append(young, id)
				continue
			}
			if silence == 0 {
				continue
			}
			if err := s.miss(ctx, id); err != nil {
				return err
			}
		}
		if err := s.store.agents.Touch(ctx, young); err != nil {
			return err
		}
		if len(rows) < store.MaxScan {
			return nil
		}
	}
}

// miss notes that an agent is missing, unless it was heard of in the meantime.
func (s *Service) miss(ctx context.Context, id string) error {
	var missed *Agent
	if err := s.store.agents.Update(ctx, id, func(a *Agent) (*Agent, error) {
		missed = nil
		if a == nil || a.Presence != Online || s.deps.Clock.Now().Sub(a.Seen) < s.silence(a.Class) {
			return nil, nil
		}
		next := *a
		next.Presence = Missing
		missed = &next
		return missed, nil
	}); err != nil || missed == nil {
		return err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	if l := sh.agents[id]; l != nil {
		l.Presence = Missing
	}
	sh.mu.Unlock()
	s.event(Event{Level: "WARN", Class: missed.Class, Agent: id, Type: "agent missing",
		Message: fmt.Sprintf("the agent has not reported for %s", s.silence(missed.Class))})
	return nil
}

// clean removes what has had its time: agents that are missing for long, old events, orders
// and rollouts.
func (s *Service) clean(ctx context.Context) error {
	if err := cleanRows(ctx, s.store.events, keepEvents, func(*Event) bool { return true }); err != nil {
		return err
	}
	if err := cleanRows(ctx, s.store.progress, keepOrders+orderLife, func(p *Progress) bool { return !s.current(p.Order) }); err != nil {
		return err
	}
	if err := cleanRows(ctx, s.store.debug.rows, debugLife, func(*chunkRow) bool { return true }); err != nil {
		return err
	}
	if err := cleanRows(ctx, s.store.claims, keepOrders, func(*claimRow) bool { return true }); err != nil {
		return err
	}
	if err := cleanRows(ctx, s.store.agents, s.cfg.Forget, func(a *Agent) bool { return a.Presence == Missing }); err != nil {
		return err
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		old := tx.Now().Add(-keepOrders)
		for key, o := range s.store.orders.All(tx, "") {
			if o.Expires.Before(old) {
				if _, err := s.store.orders.Delete(tx, key); err != nil {
					return err
				}
			}
		}
		for key, r := range s.store.rollouts.All(tx, "") {
			if !r.Ended.IsZero() && r.Ended.Before(old) && !s.currentIn(tx, r.Number) {
				if _, err := s.store.rollouts.Delete(tx, key); err != nil {
					return err
				}
			}
		}
		for key, t := range s.store.tokens.All(tx, "") {
			if t.Expires.Before(old) {
				if _, err := s.store.tokens.Delete(tx, key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// current reports whether a class still goes by an order.
func (s *Service) current(order int64) bool { return s.currentIn(s.deps.Store.Snapshot(), order) }

func (s *Service) currentIn(r store.Reader, order int64) bool {
	for _, c := range s.store.classes.All(r, "") {
		if c.Order == order || c.Rollout == order || c.ResourceOrder == order {
			return true
		}
	}
	return s.store.orders.Has(r, orderKey(order))
}

// cleanRows removes the rows that are older than keep and whose time is up.
func cleanRows[T any](ctx context.Context, rows *store.Rows[T], keep time.Duration, over func(*T) bool) error {
	after := store.Place{}
	for {
		page, err := rows.Scan(ctx, store.Scan{Older: keep, After: after})
		if err != nil {
			return err
		}
		var gone []string
		for _, r := range page {
			after = r.Place
			if over(r.Doc) {
				gone = append(gone, r.Key)
			}
		}
		if err := rows.Delete(ctx, gone); err != nil {
			return err
		}
		if len(page) < store.MaxScan {
			return nil
		}
	}
}
