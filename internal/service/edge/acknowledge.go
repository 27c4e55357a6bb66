package edge

import (
	"bytes"
	"context"

	"sluice.dev/sluice/internal/base/store"
)

// Acknowledge takes what an agent says of an operation.
func (s *Service) Acknowledge(ctx context.Context, r *Result) error {
	if err := s.authenticate(r.Peer, r.Agent); err != nil {
		return err
	}
	state, ok := outcomes[r.State]
	if !ok {
		return Invalid.Field("operationState.state", "an operation cannot be %q", clip(r.State))
	}
	if len(r.Details) > 8<<10 {
		r.Details = r.Details[:8<<10]
	}
	order, attempt, after, ok := parseOperationID(r.Operation)
	if !ok {
		return NoSuchOrder.Field("operationId", "there is no operation %q", clip(r.Operation))
	}
	var agent string
	if r.Agent != "" || order != describeOrder {
		var err error
		if agent, err = s.whose(ctx, r, order, attempt, after); err != nil {
			return err
		}
	}
	s.counts.Acknowledgements.Add(1)
	if r.Report != nil {
		// An acknowledgement's answer carries no operations, so none is decided on: the next heartbeat's does.
		if _, err := s.report(ctx, r.Report, nil); err != nil {
			return err
		}
	}
	if order == describeOrder {
		return nil
	}
	if err := s.ordered(ctx, agent, order); err != nil {
		return err
	}
	return s.advance(ctx, agent, order, attempt, state, r)
}

// ordered refuses orders that an agent cannot have got: what it says of one counts for the
// rollout of a whole class.
func (s *Service) ordered(ctx context.Context, agent string, order int64) error {
	sh := s.shard(agent)
	sh.mu.Lock()
	l := sh.agents[agent]
	had := l != nil && l.open[order] != nil
	sh.mu.Unlock()
	if had {
		return nil
	}
	a, err := s.agentFor(ctx, agent)
	if err != nil {
		return err
	}
	if ok, err := s.lately(ctx, func() bool { return s.orderedOf(a, order) }); ok || err != nil {
		return err
	}
	return NoSuchOrder.Field("operationId", "agent %q has no such operation", clip(agent))
}

// lately looks, and again with what another node may have written just now.
func (s *Service) lately(ctx context.Context, look func() bool) (bool, error) {
	if look() {
		return true, nil
	}
	if err := s.deps.Store.Refresh(ctx); err != nil {
		return false, err
	}
	return look(), nil
}

// orderedOf reports whether an order is one of an agent's or its class's.
func (s *Service) orderedOf(a Agent, order int64) bool {
	snap := s.deps.Store.Snapshot()
	if o, ok := s.store.orders.Get(snap, orderKey(order)); ok {
		return o.Class == a.Class && (o.Agent == "" || o.Agent == a.ID)
	}
	if r, ok := s.store.rollouts.Get(snap, orderKey(order)); ok {
		return r.Class == a.Class
	}
	c, ok := s.store.classes.Get(snap, a.Class)
	return ok && (c.Order == order || c.ResourceOrder == order)
}

func clip(s string) string { return s[:min(len(s), 100)] }

// whose finds the agent that an operation was for.
func (s *Service) whose(ctx context.Context, r *Result, order int64, attempt int, after store.Place) (string, error) {
	if r.Agent != "" {
		if operationID(order, attempt, s.store.agents.Place(r.Agent)) != r.Operation {
			return "", NoSuchOrder.Field("operationId", "the operation %q was not for agent %q", clip(r.Operation), clip(r.Agent))
		}
		return r.Agent, nil
	}
	for range 2 {
		rows, err := s.store.agents.Scan(ctx, store.Scan{After: after, Limit: 2})
		if err != nil {
			return "", err
		}
		for _, row := range rows {
			if operationID(order, attempt, row.Place) == r.Operation {
				if r.Peer.Agent != "" && r.Peer.Agent != row.Key {
					return "", WrongIdentity.Field("operationId", "the operation was for another agent")
				}
				return row.Key, nil
			}
		}
		if err := s.written(ctx); err != nil { // the agent may be new
			return "", err
		}
	}
	return "", NoSuchOrder.Field("operationId", "there is no operation %q", clip(r.Operation))
}

// advance notes the end of an agent's operation, on whichever node it comes in. It returns
// when that is durable.
func (s *Service) advance(ctx context.Context, agent string, order int64, attempt int, state State, r *Result) error {
	now := s.deps.Clock.Now()
	end := Progress{Order: order, Agent: agent, State: state, Attempt: attempt, Details: r.State + note(r.Details), Updated: now}
	class, fresh := s.settle(&end)
	if !fresh {
		return nil // known already, or a later attempt is under way
	}
	if class == "" {
		row, ok, err := s.store.agents.Get(ctx, agent)
		if err != nil {
			return err
		}
		if ok {
			class = row.Doc.Class
		}
	}
	level := "INFO"
	if state == Failed {
		level = "ERROR"
	}
	if o, ok := s.store.orders.Get(s.deps.Store.Snapshot(), orderKey(order)); ok && o.Operation == "DESCRIBE" && len(r.Body) > 0 {
		if err := s.keepFile(ctx, order, agent, maxDescription, bytes.NewReader(r.Body)); err != nil {
			return err
		}
	}
	s.writer.step(end)
	s.event(Event{Level: level, Class: class, Agent: agent, Type: "operation " + string(state), Message: r.Operation + ": " + end.Details})
	s.spread(&end)
	return s.written(ctx)
}

// settle notes the end of an operation in the agent that this node remembers, and reports
// whether that is news.
func (s *Service) settle(end *Progress) (class string, fresh bool) {
	sh := s.shard(end.Agent)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.agents[end.Agent]
	if l == nil {
		return "", true
	}
	if p := l.open[end.Order]; p != nil && (p.State.ended() || end.State == Failed && end.Attempt < p.Attempt) {
		return l.Class, false
	}
	l.progress()[end.Order] = end
	return l.Class, true
}

func note(details string) string {
	if details == "" {
		return ""
	}
	return ": " + details
}
