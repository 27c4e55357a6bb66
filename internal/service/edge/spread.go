package edge

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// What nodes tell and ask each other.
const (
	progressNews = "edge.progress" // a cast: an operation was sent, or has ended
	seenQuestion = "edge.seen"     // which of these agents do you hear
	askedDetail  = "edge.detail"   // the last report of an agent
)

// Topics are what other nodes may ask, for the mesh.
func (s *Service) Topics() map[string]func(ctx context.Context, from string, body []byte) ([]byte, error) {
	return map[string]func(context.Context, string, []byte) ([]byte, error){seenQuestion: s.answerSeen, askedDetail: s.answerDetail}
}

// News are what other nodes tell.
func (s *Service) News() map[string]func(from string, body []byte) {
	return map[string]func(string, []byte){progressNews: func(_ string, body []byte) {
		var p Progress
		switch {
		case json.Unmarshal(body, &p) != nil:
		case p.State.ended():
			s.settle(&p)
		case p.State == Deployed:
			s.deployedBy(&p)
		}
	}}
}

// deployedBy notes an operation that another node has sent, so that this one does not send it too. The time is
// this node's: those of others may differ.
func (s *Service) deployedBy(p *Progress) {
	sh := s.shard(p.Agent)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.agents[p.Agent]
	if l == nil {
		return // it is read when the agent comes
	}
	if known := l.open[p.Order]; known == nil || !known.State.ended() && known.Attempt < p.Attempt {
		p.Deployed = s.deps.Clock.Now()
		l.progress()[p.Order] = p
	}
}

// spread publishes to other nodes that an operation was sent or has ended: the agent may report to them next.
func (s *Service) spread(end *Progress) {
	if s.deps.Peers == nil {
		return
	}
	short := *end
	short.Details = ""
	if raw, err := json.Marshal(short); err == nil {
		s.deps.Peers.Cast(progressNews, raw)
	}
}

// heard are the ages of agents that this node hears, in milliseconds.
func (s *Service) heard(agents []string) map[string]int64 {
	now := s.deps.Clock.Now().UnixMilli()
	out := map[string]int64{}
	for _, id := range agents {
		sh := s.shard(id)
		sh.mu.Lock()
		if l := sh.agents[id]; l != nil {
			out[id] = max(0, now-l.seen)
		}
		sh.mu.Unlock()
	}
	return out
}

func (s *Service) answerSeen(_ context.Context, _ string, body []byte) ([]byte, error) {
	var agents []string
	if err := json.Unmarshal(body, &agents); err != nil {
		return nil, err
	}
	return json.Marshal(s.heard(agents))
}

// lastHeard is how long ago any node heard of agents; those that none has heard of are
// missing in it. Ages are compared, never clocks.
func (s *Service) lastHeard(ctx context.Context, agents []string) map[string]time.Duration {
	out := map[string]time.Duration{}
	take := func(ages map[string]int64) {
		for id, ms := range ages {
			d := time.Duration(ms) * time.Millisecond
			if old, ok := out[id]; !ok || d < old {
				out[id] = d
			}
		}
	}
	take(s.heard(agents))
	if s.deps.Peers == nil {
		return out
	}
	raw, err := json.Marshal(agents)
	if err != nil {
		return out
	}
	for _, answer := range s.deps.Peers.Ask(ctx, seenQuestion, raw) {
		var ages map[string]int64
		if json.Unmarshal(answer, &ages) == nil {
			take(ages)
		}
	}
	return out
}

// details are the last reports of agents, as many as fit.
type details struct {
	mu    sync.Mutex
	byID  map[string]detailEntry
	bytes int
}

type detailEntry struct {
	at  time.Time
	raw []byte
}

// Bounds of the reports that are kept.
const (
	maxDetails = 64 << 20
	maxDetail  = 64 << 10
)

func newDetails() *details { return &details{byID: map[string]detailEntry{}} }

func (d *details) put(agent string, at time.Time, raw []byte) {
	if len(raw) > maxDetail {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.byID[agent]; ok {
		d.bytes -= len(old.raw)
	}
	for id, e := range d.byID { // any: who is asked for again reports again
		if d.bytes+len(raw) <= maxDetails {
			break
		}
		if id != agent {
			d.bytes -= len(e.raw)
			delete(d.byID, id)
		}
	}
	d.byID[agent] = detailEntry{at, raw}
	d.bytes += len(raw)
}

func (d *details) get(agent string) (detailEntry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.byID[agent]
	return e, ok
}

// reported is an agent's last report, as nodes tell each other.
type reported struct {
	AgeMillis int64  `json:"age_ms"`
	Raw       detail `json:"raw"`
}

func (s *Service) answerDetail(_ context.Context, _ string, body []byte) ([]byte, error) {
	e, ok := s.details.get(string(body))
	if !ok {
		return json.Marshal(reported{AgeMillis: -1})
	}
	return json.Marshal(reported{AgeMillis: s.deps.Clock.Now().Sub(e.at).Milliseconds(), Raw: e.raw})
}

// lastReport is the newest report that any node has of an agent.
func (s *Service) lastReport(ctx context.Context, agent string) (raw detail, age time.Duration, ok bool) {
	take := func(r reported) {
		if d := time.Duration(r.AgeMillis) * time.Millisecond; r.AgeMillis >= 0 && (!ok || d < age) {
			raw, age, ok = r.Raw, d, true
		}
	}
	if e, found := s.details.get(agent); found {
		take(reported{AgeMillis: s.deps.Clock.Now().Sub(e.at).Milliseconds(), Raw: e.raw})
	}
	if s.deps.Peers != nil {
		for _, answer := range s.deps.Peers.Ask(ctx, askedDetail, []byte(agent)) {
			var r reported
			if json.Unmarshal(answer, &r) == nil {
				take(r)
			}
		}
	}
	return raw, age, ok
}
