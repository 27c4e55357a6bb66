package edge

import (
	"context"
	"math"
	"slices"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
)

// Wave is a part of a class that gets a flow together: so many agents in all, or so many
// percent of the class, those of the waves before included. After the last wave comes
// everybody.
type Wave struct {
	Agents  int     `json:"agents,omitempty"`
	Percent float64 `json:"percent,omitempty"`
}

// Plan says how a version comes to its class.
type Plan struct {
	Waves []Wave `json:"waves,omitempty"`
	// MaxFailed is how many agents of the admitted ones, in percent, may fail; beyond it all
	// get the version before again. 0: the first failure ends the rollout; 100: none does.
	MaxFailed float64 `json:"max_failed_percent"`
	// Settle is how long a wave must have been well before the next begins.
	Settle time.Duration `json:"settle_ns,omitempty"`
	// Rate is how many agents are admitted per second; all of a wave at once if 0.
	Rate int `json:"rate,omitempty"`
}

// RolloutState says how a rollout stands.
type RolloutState string

// The states of rollouts.
const (
	Running    RolloutState = "RUNNING"
	Paused     RolloutState = "PAUSED"
	Completed  RolloutState = "DONE"
	RolledBack RolloutState = "ROLLED_BACK"
)

// Rollout brings a version of a flow to a class.
type Rollout struct {
	Number   int64        `json:"number"` // the revision that began it
	Class    string       `json:"class"`
	Version  string       `json:"version"`
	Previous string       `json:"previous,omitempty"`
	Plan     Plan         `json:"plan"`
	State    RolloutState `json:"state"`
	By       string       `json:"created_by"`
	Created  time.Time    `json:"created"`
	Ended    time.Time    `json:"ended,omitzero"`
	Message  string       `json:"message,omitempty"`
	Wave     int          `json:"wave"` // the present one, from 0
	// Admitted is the part of the order of places whose agents get the version, and Agents
	// how many those are.
	Admitted uint64 `json:"admitted,omitzero"`
	Agents   int    `json:"agents"`
	// Well is since when the present wave has nothing open.
	Well time.Time `json:"well,omitzero"`
}

// checkPlan refuses plans that say nothing, or nonsense.
func checkPlan(p *Plan) error {
	if len(p.Waves) > 100 {
		return TooMany.Field("waves", "there are more than 100 waves")
	}
	for _, w := range p.Waves {
		if w.Agents < 0 || w.Percent < 0 || w.Percent > 100 || math.IsNaN(w.Percent) || (w.Agents == 0) == (w.Percent == 0) {
			return Invalid.Field("waves", "a wave is a number of agents, or a percentage above 0 and up to 100")
		}
	}
	if p.MaxFailed < 0 || p.MaxFailed > 100 || math.IsNaN(p.MaxFailed) {
		return Invalid.Field("max_failed_percent", "max_failed_percent is 0 to 100")
	}
	if p.Settle < 0 || p.Settle > 7*24*time.Hour {
		return Invalid.Field("settle", "settle is 0 to 7 days")
	}
	if p.Rate < 0 {
		return Invalid.Field("rate", "rate is not negative")
	}
	return nil
}

// begin starts a rollout of a version in a transaction.
func (s *Service) begin(ctx context.Context, tx *store.Tx, class, version string, p Plan) (*Rollout, error) {
	old, ok := s.store.classes.Get(tx, class)
	if !ok {
		return nil, NoSuchClass.Field("agentClass", "there is no agent class %q", class)
	}
	if old.Rollout != 0 {
		return nil, RolloutUnderWay.New("rollout %d of class %q is under way: wait for it, or cancel it", old.Rollout, class)
	}
	who, _ := caller.From(ctx)
	r := &Rollout{Number: tx.Revision(), Class: class, Version: version, Previous: old.Version, Plan: p, State: Running, By: who.ARN, Created: tx.Now()}
	c := *old
	c.Rollout = r.Number
	if err := s.store.rollouts.Put(tx, orderKey(r.Number), r); err != nil {
		return nil, err
	}
	return r, s.store.classes.Put(tx, class, &c)
}

// RolloutStatus is a rollout with how far its agents have come.
type RolloutStatus struct {
	Rollout
	States map[State]int `json:"states"`
	Total  int           `json:"total"` // agents of the class
}

// Rollouts lists the rollouts of a class, the newest first.
func (s *Service) Rollouts(ctx context.Context, class string) ([]Rollout, error) {
	if err := s.may(ctx, View, class); err != nil {
		return nil, err
	}
	out := []Rollout{}
	for _, r := range s.store.rollouts.Find(s.deps.Store.Snapshot(), "class", class) {
		out = append(out, *r)
	}
	slices.Reverse(out)
	return out, nil
}

// RolloutOf returns one rollout.
func (s *Service) RolloutOf(ctx context.Context, number int64) (RolloutStatus, error) {
	r, ok := s.store.rollouts.Get(s.deps.Store.Snapshot(), orderKey(number))
	if !ok {
		return RolloutStatus{}, NoSuchOrder.Field("rollout", "there is no rollout %d", number)
	}
	if err := s.may(ctx, View, r.Class); err != nil {
		return RolloutStatus{}, err
	}
	states, err := s.states(ctx, number)
	if err != nil {
		return RolloutStatus{}, err
	}
	total, err := s.store.agents.Count(ctx, r.Class)
	return RolloutStatus{*r, states, total}, err
}

// Pause stops admitting agents, or goes on.
func (s *Service) Pause(ctx context.Context, number int64, on bool) error {
	what := "rollout resumed"
	if on {
		what = "rollout paused"
	}
	return s.steer(ctx, number, what, func(_ *store.Tx, r *Rollout) error {
		r.State = Running
		if on {
			r.State = Paused
		}
		return nil
	})
}

// CancelRollout gives all agents the version before again.
func (s *Service) CancelRollout(ctx context.Context, number int64) error {
	return s.steer(ctx, number, "rollout cancelled", func(tx *store.Tx, r *Rollout) error {
		who, _ := caller.From(ctx)
		return s.rollBack(tx, r, "cancelled by "+who.ARN)
	})
}

// steer changes a rollout that is under way, for a caller.
func (s *Service) steer(ctx context.Context, number int64, what string, change func(*store.Tx, *Rollout) error) error {
	r, ok := s.store.rollouts.Get(s.deps.Store.Snapshot(), orderKey(number))
	if !ok {
		return NoSuchOrder.Field("rollout", "there is no rollout %d", number)
	}
	if err := s.may(ctx, Operate, r.Class); err != nil {
		return err
	}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		old, ok := s.store.rollouts.Get(tx, orderKey(number))
		if !ok || old.State != Running && old.State != Paused {
			return RolloutEnded.New("rollout %d has ended", number)
		}
		next := *old
		if err := change(tx, &next); err != nil {
			return err
		}
		return s.store.rollouts.Put(tx, orderKey(number), &next)
	})
	if err == nil {
		s.changed(ctx, r.Class, "", what, "rollout %d", number)
	}
	return err
}

// rollBack ends a rollout and makes the version before the class's again, under an order of
// its own, so that agents which have got the new one get the old.
func (s *Service) rollBack(tx *store.Tx, r *Rollout, why string) error {
	old, ok := s.store.classes.Get(tx, r.Class)
	if !ok {
		return NoSuchClass.Field("agentClass", "there is no agent class %q", r.Class)
	}
	c := *old
	c.Rollout = 0
	if c.Version == "" {
		why += "; there is no version before it, and agents that have it keep it"
	} else {
		c.Order = tx.Revision()
	}
	r.State, r.Message, r.Ended = RolledBack, why, tx.Now()
	return s.store.classes.Put(tx, r.Class, &c)
}

// How often a rollout is looked at.
const rolloutTick = 250 * time.Millisecond

// moveRollouts moves rollouts on while this node leads.
func (s *Service) moveRollouts(ctx context.Context, l *lease.Lease) error {
	tick := time.NewTicker(rolloutTick)
	defer tick.Stop()
	retry := work.Retry{Log: s.deps.Log, What: "moving a rollout on", First: rolloutTick, Last: rolloutTick}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		failed := false
		for _, r := range s.store.rollouts.All(s.deps.Store.Snapshot(), "") {
			if r.State != Running {
				continue
			}
			if err := s.move(ctx, l, r); err != nil && ctx.Err() == nil {
				failed = true
				retry.Failed(err, "rollout", r.Number, "class", r.Class)
			}
		}
		if !failed {
			retry.Worked()
		}
	}
}

// move looks at one rollout and does the next thing: admit agents, wait, begin the next wave,
// or end it.
func (s *Service) move(ctx context.Context, l *lease.Lease, r *Rollout) error {
	total, err := s.store.agents.Count(ctx, r.Class)
	if err != nil {
		return err
	}
	states, err := s.states(ctx, r.Number)
	if err != nil {
		return err
	}
	done, failed := states[Done], states[Failed]
	if failed > 0 && float64(failed)*100 > r.Plan.MaxFailed*float64(max(r.Agents, 1)) {
		return s.finish(ctx, l, r, func(tx *store.Tx, r *Rollout) error {
			return s.rollBack(tx, r, plural(failed, "agent")+" failed")
		})
	}
	target, last := r.Plan.upTo(r.Wave, total)
	if r.Agents < target || last && r.Admitted != math.MaxUint64 {
		admit := target
		if r.Plan.Rate > 0 {
			admit = min(target, r.Agents+max(1, int(float64(r.Plan.Rate)*rolloutTick.Seconds())))
		}
		return s.admit(ctx, l, r, admit, last && admit == target)
	}
	if open := r.Agents - done - failed; open > 0 {
		silent, err := s.silent(ctx, r)
		if err != nil || silent < open {
			return err
		}
		// Those that are left do not report; they get the flow when they do again.
	}
	if ok, err := s.settled(ctx, l, r); !ok || err != nil {
		return err
	}
	if !last {
		return s.change(ctx, l, r, func(_ *store.Tx, r *Rollout) error {
			r.Wave++
			r.Well = time.Time{}
			return nil
		})
	}
	return s.finish(ctx, l, r, func(tx *store.Tx, r *Rollout) error {
		old, ok := s.store.classes.Get(tx, r.Class)
		if !ok {
			return NoSuchClass.Field("agentClass", "there is no agent class %q", r.Class)
		}
		c := *old
		c.Version, c.Order, c.Rollout = r.Version, r.Number, 0
		r.State, r.Ended = Completed, tx.Now()
		return s.store.classes.Put(tx, r.Class, &c)
	})
}

// upTo is how many agents of a class have been admitted at the end of a wave, and whether
// that is the last.
func (p Plan) upTo(wave, total int) (agents int, last bool) {
	if wave >= len(p.Waves) {
		return total, true
	}
	for _, w := range p.Waves[:wave+1] {
		n := w.Agents
		if w.Percent > 0 {
			n = int(math.Ceil(w.Percent * float64(total) / 100)) // in this order whole numbers stay whole
		}
		agents = max(agents, n)
	}
	return min(agents, total), false
}

// admit lets so many agents in all have the version.
func (s *Service) admit(ctx context.Context, l *lease.Lease, r *Rollout, agents int, all bool) error {
	part := uint64(math.MaxUint64)
	if !all {
		place, ok, err := s.store.agents.Nth(ctx, r.Class, agents)
		if err != nil || !ok { // not ok: agents were deleted since they were counted
			return err
		}
		if place.Part() < math.MaxUint64 {
			part = place.Part() + 1
		}
	}
	return s.change(ctx, l, r, func(_ *store.Tx, r *Rollout) error {
		r.Agents, r.Admitted, r.Well = agents, part, time.Time{}
		return nil
	})
}

// settled reports whether the present wave has been well for long enough, and notes since
// when it is. The database's clock decides: the next node to lead has another than this one.
func (s *Service) settled(ctx context.Context, l *lease.Lease, r *Rollout) (ok bool, err error) {
	if r.Plan.Settle == 0 {
		return true, nil
	}
	if r.Well.IsZero() {
		return false, s.change(ctx, l, r, func(tx *store.Tx, r *Rollout) error { r.Well = tx.Now(); return nil })
	}
	err = s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		ok = tx.Now().Sub(r.Well) >= r.Plan.Settle
		return nil
	})
	return ok, err
}

// silentScan bounds how often agents that do not answer are looked for.
const silentScan = 2 * time.Second

// silent counts the admitted agents that have not ended and are missing, or were deleted. It
// is asked rarely, as it reads the class's agents.
func (s *Service) silent(ctx context.Context, r *Rollout) (int, error) {
	now := s.deps.Clock.Now()
	if last, ok := s.scanned.Load(r.Number); ok && now.Sub(last.(time.Time)) < silentScan {
		return 0, nil
	}
	s.scanned.Store(r.Number, now)
	n, there := 0, 0
	after := store.Place{}
	for {
		rows, err := s.store.agents.Scan(ctx, store.Scan{Group: &r.Class, After: after})
		if err != nil {
			return 0, err
		}
		more := len(rows) == store.MaxScan
		for _, row := range rows {
			after = row.Place
			if row.Place.Part() >= r.Admitted {
				more = false
				break
			}
			there++
			if row.Doc.Presence != Missing {
				continue
			}
			p, ok, err := s.store.progress.Get(ctx, progressKey(r.Number, row.Key))
			if err != nil {
				return 0, err
			}
			if !ok || !p.Doc.State.ended() {
				n++
			}
		}
		if !more {
			return n + max(0, r.Agents-there), nil
		}
	}
}

// change changes a rollout under the lease.
func (s *Service) change(ctx context.Context, l *lease.Lease, r *Rollout, fn func(*store.Tx, *Rollout) error) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if err := l.Guard(tx); err != nil {
			return err
		}
		old, ok := s.store.rollouts.Get(tx, orderKey(r.Number))
		if !ok || old.State != Running {
			return nil // an operator was faster
		}
		next := *old
		if err := fn(tx, &next); err != nil {
			return err
		}
		return s.store.rollouts.Put(tx, orderKey(r.Number), &next)
	})
}

// finish ends a rollout and tells of it.
func (s *Service) finish(ctx context.Context, l *lease.Lease, r *Rollout, fn func(*store.Tx, *Rollout) error) error {
	var end Rollout
	if err := s.change(ctx, l, r, func(tx *store.Tx, r *Rollout) error {
		err := fn(tx, r)
		end = *r
		return err
	}); err != nil {
		return err
	}
	s.scanned.Delete(r.Number)
	switch end.State {
	case Completed:
		s.event(Event{Level: "INFO", Class: r.Class, Type: "flow rolled out", Message: plural(end.Agents, "agent") + " of the class were told to run version " + r.Version})
	case RolledBack:
		s.event(Event{Level: "ERROR", Class: r.Class, Type: "flow rolled back", Message: end.Message})
	}
	return nil
}
