package edge

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// maxDebugBundle bounds what an agent may send, and debugLife is how long it is kept.
const (
	maxDebugBundle = 64 << 20
	debugLife      = 7 * 24 * time.Hour
)

// debugRow is a part of a bundle, or, as part -1, its size.
type debugRow struct {
	Agent string
	Parts int
	Size  int64
	Bytes []byte
}

func debugKey(order int64, agent string, part int) string {
	return fmt.Sprintf("%d/%s/%d", order, agent, part)
}

// KeepDebug keeps the bundle that an agent sends for an order of TRANSFER debug.
func (s *Service) KeepDebug(ctx context.Context, order, agent string, p Peer, body io.Reader) error {
	if err := s.authenticate(p, agent); err != nil {
		return err
	}
	n, err := strconv.ParseInt(order, 16, 64)
	o, ok := s.store.orders.Get(s.deps.Store.Snapshot(), orderKey(n))
	if err != nil || !ok || o.Operation != "TRANSFER" || o.Cancelled {
		return NoSuchOrder.Field("order", "nobody has asked for this bundle")
	}
	a, err := s.agentFor(ctx, agent)
	if err != nil {
		return err
	}
	if a.Class != o.Class || o.Agent != "" && o.Agent != agent {
		return WrongIdentity.Field("aid", "the bundle was asked of another agent")
	}
	head := &debugRow{Agent: agent}
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(body, buf)
		if n > 0 {
			if head.Size += int64(n); head.Size > maxDebugBundle {
				return TooLarge.New("a bundle is at most %d MiB", maxDebugBundle>>20)
			}
			if err := s.store.debug.Put(ctx, map[string]*debugRow{debugKey(o.Number, agent, head.Parts): {Agent: agent, Bytes: buf[:n]}}); err != nil {
				return err
			}
			head.Parts++
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return Invalid.Wrap(err, "the bundle broke off")
		}
	}
	if err := s.store.debug.Put(ctx, map[string]*debugRow{debugKey(o.Number, agent, -1): head}); err != nil {
		return err
	}
	s.event(Event{Level: "INFO", Class: a.Class, Agent: agent, Type: "debug bundle received", Message: fmt.Sprintf("%d bytes, for operation %d", head.Size, o.Number)})
	return nil
}

// ReadDebug writes the bundle that an agent has sent for an order.
func (s *Service) ReadDebug(ctx context.Context, order int64, agent string, w io.Writer) error {
	o, ok := s.store.orders.Get(s.deps.Store.Snapshot(), orderKey(order))
	if !ok {
		return NoSuchOrder.Field("id", "there is no operation %d", order)
	}
	if err := s.may(ctx, Operate, o.Class); err != nil {
		return err
	}
	head, ok, err := s.store.debug.Get(ctx, debugKey(order, agent, -1))
	if err != nil {
		return err
	}
	if !ok {
		return NoSuchResource.New("agent %q has not sent its bundle", clip(agent))
	}
	for part := range head.Doc.Parts {
		row, ok, err := s.store.debug.Get(ctx, debugKey(order, agent, part))
		if err != nil {
			return err
		}
		if !ok {
			return store.Damaged.New("a part of the bundle is lost")
		}
		if _, err := w.Write(row.Doc.Bytes); err != nil {
			return err
		}
	}
	return nil
}
