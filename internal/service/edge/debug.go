package edge

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/store"
)

// maxDebugBundle bounds what an agent may send, and debugLife is how long it is kept.
const (
	maxDebugBundle = 64 << 20
	debugLife      = 7 * 24 * time.Hour
)

// debugRow is a part of a bundle, or, as part -1, its size.
type debugRow struct {
	Agent  string
	Upload string // which of several the parts belong to
	Parts  int
	Size   int64
	Bytes  []byte
}

// debugKey is the row of a bundle's size, and debugPart that of a part.
func debugKey(order int64, agent string) string { return fmt.Sprintf("%d/%s/-1", order, agent) }

func debugPart(order int64, agent, upload string, part int) string {
	return fmt.Sprintf("%d/%s/%s%d", order, agent, upload, part)
}

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
	// What an agent sent before stays until the whole of this is here.
	head := &debugRow{Agent: agent, Upload: uuid.NewString() + "/"}
	before, had, err := s.store.debug.Get(ctx, debugKey(o.Number, agent))
	if err != nil {
		return err
	}
	unused := head
	defer func() {
		if unused != nil {
			s.dropBundle(context.WithoutCancel(ctx), o.Number, unused)
		}
	}()
	buf := make([]byte, chunkSize)
	for {
		n, err := fill(body, buf)
		if n > 0 {
			if head.Size += int64(n); head.Size > maxDebugBundle {
				return TooLarge.New("a bundle is at most %d MiB", maxDebugBundle>>20)
			}
			if err := s.store.debug.Put(ctx, map[string]*debugRow{debugPart(o.Number, agent, head.Upload, head.Parts): {Agent: agent, Bytes: buf[:n]}}); err != nil {
				return err
			}
			head.Parts++
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return Invalid.Wrap(err, "the bundle broke off")
		}
	}
	if err := s.store.debug.Put(ctx, map[string]*debugRow{debugKey(o.Number, agent): head}); err != nil {
		return err
	}
	if unused = nil; had {
		unused = before.Doc
	}
	s.event(Event{Level: "INFO", Class: a.Class, Agent: agent, Type: "debug bundle received", Message: fmt.Sprintf("%d bytes, for operation %d", head.Size, o.Number)})
	return nil
}

// dropBundle removes the parts of a bundle.
func (s *Service) dropBundle(ctx context.Context, order int64, head *debugRow) {
	var parts []string
	for n := range head.Parts {
		parts = append(parts, debugPart(order, head.Agent, head.Upload, n))
	}
	if err := s.store.debug.Delete(ctx, parts); err != nil {
		s.deps.Log.Warn("a debug bundle is left over", "agent", head.Agent, "error", err)
	}
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
	head, ok, err := s.store.debug.Get(ctx, debugKey(order, agent))
	if err != nil {
		return err
	}
	if !ok {
		return NoSuchResource.New("agent %q has not sent its bundle", clip(agent))
	}
	for part := range head.Doc.Parts {
		row, ok, err := s.store.debug.Get(ctx, debugPart(order, agent, head.Doc.Upload, part))
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
