package edge

import (
	"cmp"
	"context"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// maxManifest bounds a manifest as it is sent.
const maxManifest = 8 << 20

// check refuses what is no heartbeat.
func (h *Heartbeat) check() error {
	if err := checkName("agentInfo.identifier", h.Agent); err != nil {
		return err
	}
	if err := checkName("agentInfo.agentClass", h.Class); err != nil {
		return err
	}
	for _, f := range [...]struct{ name, text string }{{"agentInfo.agentManifestHash", h.ManifestHash}, {"flowInfo.flowId", h.FlowID}, {"resourceInfo.hash", h.ResourceHash},
		{"deviceInfo.identifier", h.Device.ID}, {"deviceInfo.networkInfo.hostname", h.Device.Hostname}, {"deviceInfo.networkInfo.ipAddress", h.Device.IP},
		{"deviceInfo.systemInfo.operatingSystem", h.Device.OS}, {"deviceInfo.systemInfo.machineArch", h.Device.Arch}, {"flowInfo.runStatus", h.RunStatus}} {
		if len(f.text) > 512 {
			return Invalid.Field(f.name, "%s is longer than 512 bytes", f.name)
		}
	}
	if len(h.Manifest) > maxManifest {
		return TooLarge.Field("agentInfo.agentManifest", "the manifest is larger than %d bytes", maxManifest)
	}
	return nil
}

// authenticate makes sure that an agent is who it says.
func (s *Service) authenticate(p Peer, agent string) error {
	switch {
	case p.Agent == "" && s.cfg.RequireCertificate:
		return NoIdentity.New("agents must show a certificate of this platform: enrol with sluice agent enroll")
	case p.Agent != "" && agent != "" && p.Agent != agent:
		return WrongIdentity.Field("agentInfo.identifier", "the certificate belongs to another agent than %q", clip(agent))
	}
	return nil
}

// Heartbeat takes an agent's report and sends it what it is to do, by send, which is called once unless there is an
// error. An operation counts as deployed when send has succeeded: what did not reach the agent is sent again with
// its next heartbeat.
func (s *Service) Heartbeat(ctx context.Context, h *Heartbeat, send func([]Operation) error) error {
	var ops []Operation
	var d decision
	ask, err := s.report(ctx, h, func(l *live, now time.Time) {
		d = s.decide(l, h, now)
		ops = d.operations
	})
	if err != nil {
		return err
	}
	for _, p := range d.steps {
		s.writer.step(p)
	}
	if ask {
		ops = append(ops, Operation{ID: operationID(describeOrder, 0, s.store.agents.Place(h.Agent)), Operation: "DESCRIBE", Operand: "manifest"})
	}
	if err := send(ops); err != nil {
		s.takeBack(h.Agent, d.deployed)
		return err
	}
	for _, n := range d.deployed {
		s.writer.step(*n.next)
		s.spread(n.next)
	}
	s.counts.Operations.Add(int64(len(ops)))
	return nil
}

// takeBack undoes the deployment of operations that did not reach the agent, unless something followed.
func (s *Service) takeBack(agent string, deployed []deployment) {
	sh := s.shard(agent)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.agents[agent]
	if l == nil {
		return
	}
	for _, d := range deployed {
		switch {
		case l.open[d.next.Order] != d.next:
		case d.before == nil:
			delete(l.open, d.next.Order)
		default:
			l.open[d.next.Order] = d.before
		}
	}
}

// report takes over what an agent reports. then, if not nil, is called with what is known of the agent, under
// the lock of its shard, unless the report is late. ask says that this agent is the one to be asked for its manifest.
func (s *Service) report(ctx context.Context, h *Heartbeat, then func(l *live, now time.Time)) (ask bool, err error) {
	defer func() {
		if err != nil {
			s.counts.Refused.Add(1)
		}
	}()
	if h.Class == "" { // it is optional in C2
		h.Class = s.classOf(ctx, h)
	}
	if err := h.check(); err != nil {
		return false, err
	}
	if err := s.authenticate(h.Peer, h.Agent); err != nil {
		return false, err
	}
	// The class decides about flows, and what secrets are in them.
	if h.Peer.Class != "" && h.Peer.Class != h.Class {
		return false, WrongIdentity.Field("agentInfo.agentClass", "the agent was enrolled for another class than %q: enrol it anew", h.Class)
	}
	s.counts.Heartbeats.Add(1)
	doc, ask, err := s.learn(ctx, h)
	if err != nil {
		return false, err
	}
	if err := s.ensureClass(ctx, h.Class); err != nil {
		return false, err
	}
	if doc != nil {
		if err := s.bind(ctx, h.Class, doc); err != nil {
			return false, err
		}
	}
	s.intern(h)
	sh := s.shard(h.Agent)
	sh.mu.Lock()
	l := sh.agents[h.Agent]
	if l == nil {
		sh.mu.Unlock()
		read, err := s.remember(ctx, h)
		if err != nil {
			return false, err
		}
		sh.mu.Lock()
		if l = sh.agents[h.Agent]; l == nil {
			l = read
			sh.agents[h.Agent] = l
			s.known.Add(1)
		}
	}
	now := s.deps.Clock.Now()
	if l.late(h) {
		l.seen = now.UnixMilli()
		sh.mu.Unlock()
		return false, nil
	}
	was := l.Presence
	shared := l.otherDevice(h.Device.ID, now)
	changed := l.note(h, now, s.cfg.MaxSilence)
	if shared && age(now, l.Shared) > time.Minute {
		l.Shared, changed = now, true
	} else {
		shared = false
	}
	if then != nil {
		then(l, now)
	}
	row := l.Agent
	sh.mu.Unlock()

	if changed {
		s.writer.agent(row)
	}
	s.tell(h, was, shared)
	if len(h.Raw) > 0 {
		s.details.put(h.Agent, now, h.Raw)
	}
	return ask, nil
}

// DefaultClass is the class of agents that name none.
const DefaultClass = "default"

// classOf is the class of an agent that does not say: that of its certificate, that which it had, or the default.
func (s *Service) classOf(ctx context.Context, h *Heartbeat) string {
	if h.Peer.Class != "" || h.Agent == "" {
		return cmp.Or(h.Peer.Class, DefaultClass)
	}
	if a, err := s.agentFor(ctx, h.Agent); err == nil {
		return a.Class
	}
	return DefaultClass // an agent that is not known
}

// describeOrder is the order of what nobody ordered: to tell the manifest.
const describeOrder = 0

// intern keeps one copy of what many agents say alike.
func (s *Service) intern(h *Heartbeat) {
	for _, t := range []*string{&h.Class, &h.ManifestHash, &h.FlowID, &h.RunStatus, &h.ResourceHash, &h.Device.OS, &h.Device.Arch} {
		if *t != "" {
			*t = s.names.of(*t)
		}
	}
}

// tell makes events of what a heartbeat shows.
func (s *Service) tell(h *Heartbeat, was Presence, shared bool) {
	switch was {
	case "":
		s.event(Event{Level: "INFO", Class: h.Class, Agent: h.Agent, Type: "agent registered", Message: "the agent reported for the first time, from " + h.Peer.Address})
	case Missing:
		s.event(Event{Level: "INFO", Class: h.Class, Agent: h.Agent, Type: "agent online", Message: "the agent reports again"})
	}
	if shared {
		s.event(Event{Level: "WARN", Class: h.Class, Agent: h.Agent, Type: "identifier shared", Message: "two devices report under one agent identifier"})
	}
}

// flapping is how soon a device must come back for its id to be called shared.
const flapping = 10 * time.Minute

// otherDevice notes which device an agent runs on and reports whether the one before has come
// back, which a moved agent's does not.
func (l *live) otherDevice(device string, now time.Time) (shared bool) {
	if device == "" || l.Device.ID == "" || device == l.Device.ID {
		return false
	}
	shared = device == l.before && now.UnixMilli()-l.changed < flapping.Milliseconds()
	l.before, l.changed = l.Device.ID, now.UnixMilli()
	return shared
}

// remember reads an agent that this node does not know yet, with its progress.
func (s *Service) remember(ctx context.Context, h *Heartbeat) (*live, error) {
	if s.known.Load() >= int64(s.cfg.MaxAgents) {
		s.forgetSome()
	}
	now := s.deps.Clock.Now()
	l := &live{Agent: Agent{ID: h.Agent, First: now}, place: s.store.agents.Place(h.Agent)}
	row, ok, err := s.store.agents.Get(ctx, h.Agent)
	if err != nil {
		return nil, err
	}
	if ok {
		l.Agent, l.seen = *row.Doc, now.Add(-row.Age).UnixMilli()
		for _, t := range []*string{&l.Class, &l.ManifestHash, &l.FlowID, &l.RunStatus, &l.ResourceHash, &l.Device.OS, &l.Device.Arch} {
			*t = s.names.of(*t)
		}
	}
	if !ok {
		return l, nil // nothing was ever ordered of it
	}
	for _, order := range s.openOrders(s.deps.Store.Snapshot(), h.Class, h.Agent) {
		p, ok, err := s.store.progress.Get(ctx, progressKey(order, h.Agent))
		if err != nil {
			return nil, err
		}
		if ok {
			l.progress()[order] = p.Doc
		}
	}
	return l, nil
}

func (l *live) progress() map[int64]*Progress {
	if l.open == nil {
		l.open = map[int64]*Progress{}
	}
	return l.open
}

// forgetSome drops agents of one shard that this node has not heard of for a while, or any.
func (s *Service) forgetSome() {
	now := s.deps.Clock.Now().UnixMilli()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for id, l := range sh.agents {
			if now-l.seen > s.cfg.MaxSilence.Milliseconds() || s.known.Load() > int64(s.cfg.MaxAgents)*9/10 {
				delete(sh.agents, id)
				s.known.Add(-1)
			}
		}
		sh.mu.Unlock()
		if s.known.Load() < int64(s.cfg.MaxAgents)*9/10 {
			return
		}
	}
}

// decision is what follows for an agent from a heartbeat.
type decision struct {
	operations []Operation
	deployed   []deployment // once the operations were sent
	steps      []Progress   // in any case
}

// deployment is the progress that an operation makes when it is sent, and what there was before, if anything.
type deployment struct{ next, before *Progress }

// decide returns the operations that an agent gets now, and the progress that follows. The
// lock of the agent's shard is held.
func (s *Service) decide(l *live, h *Heartbeat, now time.Time) (d decision) {
	snap := s.deps.Store.Snapshot()
	class, ok := s.store.classes.Get(snap, l.Class)
	if !ok {
		return d
	}
	send := func(order int64, kind, operand string, args func() map[string]any) {
		p, before := l.open[order], l.open[order]
		switch {
		case p == nil:
			p = &Progress{Order: order, Agent: l.ID, State: Queued}
		case p.State.ended():
			return
		case p.State == Deployed && now.Sub(p.Deployed) < s.cfg.AnswerWithin:
			return
		case p.Attempt >= MaxAttempts:
			why := "the agent did not answer"
			if p.State == Queued {
				why = "the agent says again and again that it is done, and reports that it is not"
			}
			p = p.to(Failed, why, now)
			l.progress()[order] = p
			d.steps = append(d.steps, *p)
			return
		}
		if !s.supports(snap, l.ManifestHash, kind, operand) {
			if l.ManifestHash == "" || !s.store.manifests.Has(snap, l.ManifestHash) {
				return // it is not known yet what the agent can do
			}
			p = p.to(Failed, "the agent's manifest does not support "+kind+" "+operand, now)
			l.progress()[order] = p
			d.steps = append(d.steps, *p)
			return
		}
		if !s.pace.take(kind+"/"+operand, now) {
			return // with a later heartbeat
		}
		next := *p
		next.State, next.Attempt, next.Deployed, next.Updated = Deployed, p.Attempt+1, now, now
		if k, ok := kindOf(kind, operand); ok && k.Silent {
			next.State, next.Details = Done, "sent: agents do not acknowledge it"
		}
		l.progress()[order] = &next
		d.deployed = append(d.deployed, deployment{&next, before})
		d.operations = append(d.operations, Operation{ID: operationID(order, next.Attempt, l.place), Operation: kind, Operand: operand, Args: args()})
	}
	// follow brings an agent to what its class has.
	follow := func(order int64, has bool, why, kind, operand string, args func() map[string]any) {
		p := l.open[order]
		switch {
		case !has:
			if p != nil && p.State == Done {
				// It had it and lost it, as an agent of C++ does that restarts; or it never had
				// it, whatever it said, and then that counts as an attempt.
				l.open[order] = &Progress{Order: order, Agent: l.ID, State: Queued, Attempt: p.Attempt}
			}
			send(order, kind, operand, args)
		case p == nil || !p.State.ended():
			if p == nil {
				p = &Progress{Order: order, Agent: l.ID}
			}
			p = p.to(Done, why, now)
			d.steps = append(d.steps, *p)
			fallthrough
		case p.State == Done && p.Attempt > 0: // what it said is true
			shown := *p
			shown.Attempt = 0
			l.progress()[order] = &shown
		}
	}
	if version, order := s.target(snap, class, l.place); version != "" {
		follow(order, h.FlowID == version, "the agent reports the flow", "UPDATE", "configuration", func() map[string]any { return flowArgs(version, l.ID) })
	}
	if class.ResourceOrder != 0 {
		follow(class.ResourceOrder, h.ResourceHash == class.ResourceHash, "the agent reports the resources", "SYNC", "resource",
			func() map[string]any { return s.resourceArgs(snap, class) })
	}
	for _, o := range s.ordersFor(snap, l.Class, l.ID) {
		send(o.Number, o.Operation, o.Operand, func() map[string]any { return s.orderArgs(snap, o) })
	}
	return d
}

// to is progress one step on. A state that was reached is not left for an earlier one.
func (p Progress) to(state State, details string, now time.Time) *Progress {
	p.State, p.Details, p.Updated = state, details, now
	return &p
}

// target is the version of the flow that an agent at a place is to run, and the order that
// says so.
func (s *Service) target(r store.Reader, c *Class, place store.Place) (version string, order int64) {
	if c.Rollout != 0 {
		if ro, ok := s.store.rollouts.Get(r, orderKey(c.Rollout)); ok && place.Part() < ro.Admitted {
			return ro.Version, ro.Number
		}
	}
	return c.Version, c.Order
}
