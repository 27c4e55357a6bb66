package edge

import (
	"context"
	"encoding/hex"
	"time"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// AgentPage is a page of agents and where the next begins; "" at the end.
type AgentPage struct {
	Agents []Agent `json:"agents"`
	Next   string  `json:"next,omitempty"`
}

// Agents lists the agents of a class, in an order of their own that does not change.
func (s *Service) Agents(ctx context.Context, class, after string, limit int) (AgentPage, error) {
	page := AgentPage{Agents: []Agent{}}
	if err := s.may(ctx, View, class); err != nil {
		return page, err
	}
	q := store.Scan{Group: &class, Limit: limit}
	if after != "" {
		raw, err := hex.DecodeString(after)
		if err != nil || len(raw) != len(q.After) {
			return page, Invalid.Field("after", "the page did not come from a listing")
		}
		copy(q.After[:], raw)
	}
	if err := s.written(ctx); err != nil {
		return page, err
	}
	rows, err := s.store.agents.Scan(ctx, q)
	if err != nil {
		return page, err
	}
	for _, r := range rows {
		page.Agents = append(page.Agents, *r.Doc)
		page.Next = hex.EncodeToString(r.Place[:])
	}
	s.refresh(ctx, page.Agents)
	if limit <= 0 || limit > store.MaxScan {
		limit = store.MaxScan
	}
	if len(rows) < limit {
		page.Next = ""
	}
	return page, nil
}

// refresh sets when agents were last seen by what all nodes know now: what is written down is older, as most
// heartbeats write nothing.
func (s *Service) refresh(ctx context.Context, agents []Agent) {
	ids := make([]string, len(agents))
	for i := range agents {
		ids[i] = agents[i].ID
	}
	ages, now := s.lastHeard(ctx, ids), s.deps.Clock.Now()
	for i := range agents {
		if age, ok := ages[agents[i].ID]; ok {
			if seen := now.Add(-age); seen.After(agents[i].Seen) {
				agents[i].Seen = seen
			}
		}
	}
}

// Agent returns one agent.
func (s *Service) Agent(ctx context.Context, id string) (Agent, error) {
	if err := s.written(ctx); err != nil {
		return Agent{}, err
	}
	row, ok, err := s.store.agents.Get(ctx, id)
	if err != nil {
		return Agent{}, err
	}
	if !ok {
		if err := s.may(ctx, View, "*"); err != nil { // who may not see all learns nothing
			return Agent{}, err
		}
		return Agent{}, NoSuchAgent.Field("agentId", "there is no agent %q", clip(id))
	}
	one := []Agent{*row.Doc}
	s.refresh(ctx, one)
	return one[0], s.may(ctx, View, row.Doc.Class)
}

// Report is an agent with the last that it has reported to any node.
type Report struct {
	Agent
	// Age is how long ago that was; the agent's Seen says it where no node remembers.
	Age time.Duration `json:"age_ns"`
	Raw detail        `json:"report,omitempty"`
}

// LastReport returns an agent with its last report, from whichever node has it.
func (s *Service) LastReport(ctx context.Context, id string) (Report, error) {
	a, err := s.Agent(ctx, id)
	if err != nil {
		return Report{}, err
	}
	r := Report{Agent: a, Age: s.deps.Clock.Now().Sub(a.Seen)}
	if raw, age, ok := s.lastReport(ctx, id); ok {
		r.Raw, r.Age = raw, age
		r.Seen = s.deps.Clock.Now().Add(-age)
	}
	return r, nil
}

// DeleteAgent removes an agent. One that lives comes back with its next heartbeat.
func (s *Service) DeleteAgent(ctx context.Context, id string) error {
	a, err := s.Agent(ctx, id)
	if err != nil {
		return err
	}
	if err := s.may(ctx, Admin, a.Class); err != nil {
		return err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	if _, ok := sh.agents[id]; ok {
		delete(sh.agents, id)
		s.known.Add(-1)
	}
	sh.mu.Unlock()
	if err := s.store.agents.Delete(ctx, []string{id}); err != nil {
		return err
	}
	s.changed(ctx, a.Class, id, "agent deleted", "an operator removed the agent")
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := s.store.params.Delete(tx, id)
		return err
	})
}

// SetAgentParameters sets the parameters of one agent, which go before those of its class.
// They are in the flow that the agent fetches next.
func (s *Service) SetAgentParameters(ctx context.Context, id string, p []flow.Parameter) error {
	a, err := s.Agent(ctx, id)
	if err != nil {
		return err
	}
	if err := s.may(ctx, Design, a.Class); err != nil {
		return err
	}
	if err := checkParameters(p); err != nil {
		return err
	}
	err = s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if len(p) == 0 {
			_, err := s.store.params.Delete(tx, id)
			return err
		}
		return s.store.params.Put(tx, id, &agentParameters{Class: a.Class, Parameters: p})
	})
	if err == nil {
		s.changed(ctx, a.Class, id, "agent changed", "the agent has %d parameters", len(p))
	}
	return err
}

// AgentParameters returns the parameters of one agent.
func (s *Service) AgentParameters(ctx context.Context, id string) ([]flow.Parameter, error) {
	if _, err := s.Agent(ctx, id); err != nil {
		return nil, err
	}
	if p, ok := s.store.params.Get(s.deps.Store.Snapshot(), id); ok {
		return p.Parameters, nil
	}
	return []flow.Parameter{}, nil
}
