package edge

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// maxDebugBundle bounds what an agent may send, and debugLife is how long it is kept.
const (
	maxDebugBundle = 64 << 20
	maxDescription = 4 << 20 // what an agent says to DESCRIBE
	debugLife      = 7 * 24 * time.Hour
)

// debugKey is the row that says which file an agent sent last for an order.
func debugKey(order int64, agent string) string { return fmt.Sprintf("%d/%s", order, agent) }

// KeepDebug keeps the bundle that an agent sends for an order of TRANSFER debug.
func (s *Service) KeepDebug(ctx context.Context, order, agent string, p Peer, body io.Reader) error {
	if err := s.authenticate(p, agent); err != nil {
		return err
	}
	agent = cmp.Or(agent, p.Agent)
	n, err := strconv.ParseInt(order, 16, 64)
	if err != nil {
		return NoSuchOrder.Field("order", "nobody has asked for this bundle")
	}
	var o *Order
	ok, err := s.lately(ctx, func() (ok bool) {
		o, ok = s.store.orders.Get(s.deps.Store.Snapshot(), orderKey(n))
		return ok
	})
	if err != nil {
		return err
	}
	if !ok || o.Operation != "TRANSFER" || o.Cancelled {
		return NoSuchOrder.Field("order", "nobody has asked for this bundle")
	}
	a, err := s.agentFor(ctx, agent)
	if err != nil {
		return err
	}
	if a.Class != o.Class || o.Agent != "" && o.Agent != agent {
		return WrongIdentity.Field("aid", "the bundle was asked of another agent")
	}
	if s.deps.Clock.Now().After(o.Expires) {
		return NoSuchOrder.Field("order", "the operation has expired")
	}
	if ended, err := s.hasEnded(ctx, o.Number, agent); err != nil {
		return err
	} else if ended {
		return BundleComplete.Field("order", "the agent has sent its bundle, and said that it is whole")
	}
	if err := s.keepFile(ctx, o.Number, agent, maxDebugBundle, body); err != nil {
		return err
	}
	s.event(Event{Level: "INFO", Class: a.Class, Agent: agent, Type: "debug bundle received", Message: fmt.Sprintf("for operation %d", o.Number)})
	return nil
}

// hasEnded reports whether an agent is through with an order.
func (s *Service) hasEnded(ctx context.Context, order int64, agent string) (bool, error) {
	sh := s.shard(agent)
	sh.mu.Lock()
	var p *Progress
	if l := sh.agents[agent]; l != nil {
		p = l.open[order]
	}
	sh.mu.Unlock()
	if p != nil && p.State.ended() {
		return true, nil
	}
	row, ok, err := s.store.progress.Get(ctx, progressKey(order, agent))
	return ok && row.Doc.State.ended(), err
}

// keepFile keeps what an agent sends for an order. What it sent before stays until the whole of this is here.
func (s *Service) keepFile(ctx context.Context, order int64, agent string, limit int64, body io.Reader) error {
	key := debugKey(order, agent)
	before, had, err := s.store.debug.rows.Get(ctx, key)
	if err != nil {
		return err
	}
	head := &chunkRow{Owner: agent, File: key + "/" + uuid.NewString()}
	unused := head
	defer func() {
		if unused != nil {
			s.dropBundle(context.WithoutCancel(ctx), unused)
		}
	}()
	if head.Size, err = s.store.debug.write(ctx, head.File, agent, limit, body); err != nil {
		return err
	}
	if err := s.store.debug.rows.Put(ctx, map[string]*chunkRow{key: head}); err != nil {
		return err
	}
	if unused = nil; had {
		unused = before.Doc
	}
	return nil
}

// dropBundle removes the parts of a bundle.
func (s *Service) dropBundle(ctx context.Context, head *chunkRow) {
	if err := s.store.debug.drop(ctx, head.File, head.Size); err != nil {
		s.deps.Log.Warn("a debug bundle is left over", "agent", head.Owner, "error", err)
	}
}

// ReadDebug writes what an agent has sent for an order: the bundle of TRANSFER debug, or its whole answer to DESCRIBE.
func (s *Service) ReadDebug(ctx context.Context, order int64, agent string, w io.Writer) error {
	o, ok := s.store.orders.Get(s.deps.Store.Snapshot(), orderKey(order))
	if !ok {
		return NoSuchOrder.Field("id", "there is no operation %d", order)
	}
	if err := s.may(ctx, Operate, o.Class); err != nil {
		return err
	}
	head, ok, err := s.store.debug.rows.Get(ctx, debugKey(order, agent))
	if err != nil {
		return err
	}
	if !ok {
		return NoSuchResource.New("agent %q has sent nothing for operation %d", clip(agent), order)
	}
	for part, err := range s.store.debug.read(ctx, head.Doc.File, head.Doc.Size) {
		if err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}
