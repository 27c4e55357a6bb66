package engine

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// counts are the figures of one session.
type counts struct{ in, out, bytesIn, bytesOut, read, written int64 }

// counters are a processor's figures since the flow was loaded.
type counters struct {
	in, out, bytesIn, bytesOut, read, written, invocations, nanos, active, expired atomic.Int64
}

func (c *counters) add(n *counts) {
	c.in.Add(n.in)
	c.out.Add(n.out)
	c.bytesIn.Add(n.bytesIn)
	c.bytesOut.Add(n.bytesOut)
	c.read.Add(n.read)
	c.written.Add(n.written)
}

// Status is how an engine is doing.
type Status struct {
	Running    bool
	Processors []ProcessorStatus
	Queues     []QueueStatus
	Bulletins  []Bulletin
	Used       int64 // bytes in the repository
	Limit      int64
}

// ProcessorStatus are a processor's figures since the flow was loaded.
type ProcessorStatus struct {
	ID, Name, GroupID                                                         string
	Running                                                                   bool
	In, Out, BytesIn, BytesOut, BytesRead, BytesWritten, Invocations, Expired int64
	Time                                                                      time.Duration
	Active                                                                    int64
}

// QueueStatus is what waits on a connection.
type QueueStatus struct {
	ID, Name           string
	Count, Bytes       int64
	MaxCount, MaxBytes int64
	Orphan             bool // no connection of the flow has this id
}

// Bulletin is something that a processor complained of.
type Bulletin struct {
	ID                          int64
	At                          time.Time
	Level                       string
	Message                     string
	SourceID, SourceName, Group string
}

// maxBulletins are kept, the last ones.
const maxBulletins = 1000

type bulletins struct {
	mu   sync.Mutex
	last int64
	list []Bulletin
}

func (b *bulletins) add(one Bulletin) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	one.ID = b.last
	if len(b.list) >= maxBulletins {
		b.list = slices.Delete(b.list, 0, maxBulletins/10)
	}
	b.list = append(b.list, one)
}

func (b *bulletins) copy() []Bulletin {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// bulletinHandler keeps what a processor logs from Warn upward as bulletins too.
type bulletinHandler struct {
	slog.Handler
	to *bulletins
	of *node
}

func (h bulletinHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || h.Handler.Enabled(ctx, l)
}

func (h bulletinHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var text strings.Builder
		text.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool {
			text.WriteString("; " + a.Key + ": " + a.Value.String())
			return text.Len() < 2000
		})
		level := "ERROR"
		if r.Level < slog.LevelError {
			level = "WARNING"
		}
		message := text.String()
		h.to.add(Bulletin{At: r.Time, Level: level, Message: message[:min(len(message), 2000)], SourceID: h.of.spec.ID, SourceName: h.of.spec.Name, Group: h.of.group})
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h bulletinHandler) WithAttrs(a []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(a)
	return h
}

func (h bulletinHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// Status returns the engine's figures.
func (e *Engine) Status() Status {
	e.mu.Lock()
	nodes, running := e.nodes, e.running
	queues := make([]*queue, 0, len(e.queues))
	for _, q := range e.queues {
		queues = append(queues, q)
	}
	e.mu.Unlock()
	out := Status{Running: running, Bulletins: e.bulletins.copy(), Used: e.repo.used.Load(), Limit: e.repo.limit}
	for _, n := range nodes {
		if n.passes() {
			continue
		}
		n.mu.Lock()
		on := n.running
		n.mu.Unlock()
		c := &n.counters
		out.Processors = append(out.Processors, ProcessorStatus{ID: n.spec.ID, Name: n.spec.Name, GroupID: n.group, Running: on,
			In: c.in.Load(), Out: c.out.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(), BytesRead: c.read.Load(),
			BytesWritten: c.written.Load(), Invocations: c.invocations.Load(), Expired: c.expired.Load(), Time: time.Duration(c.nanos.Load()), Active: c.active.Load()})
	}
	for _, q := range queues {
		q.mu.Lock()
		if q.linked() || q.count > 0 {
			out.Queues = append(out.Queues, QueueStatus{ID: q.id, Name: q.link.name, Count: int64(q.count), Bytes: q.bytes,
				MaxCount: q.link.maxCount, MaxBytes: q.link.maxBytes, Orphan: !q.linked()})
		}
		q.mu.Unlock()
	}
	slices.SortFunc(out.Queues, func(a, b QueueStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
}
