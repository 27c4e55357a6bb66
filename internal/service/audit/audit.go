package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/kv"
)

// InvalidCursor says that a cursor did not come from List.
var InvalidCursor = &fault.Reason{Kind: fault.Invalid, Name: "InvalidCursor"}

// Entry is one change.
type Entry struct {
	Time      time.Time       `json:"time"`
	Request   string          `json:"request_id,omitempty"`
	Who       string          `json:"who"` // an ARN, or how the caller got in
	From      string          `json:"client_ip,omitempty"`
	Operation string          `json:"operation"` // create, update or delete
	Entity    string          `json:"entity"`    // the collection
	Key       string          `json:"entity_key"`
	Before    json.RawMessage `json:"before,omitempty"`
	After     json.RawMessage `json:"after,omitempty"`
}

// Config bounds the audit.
type Config struct {
	Keep time.Duration // how long entries stay; 90 days
}

// Deps is what the audit needs from others.
type Deps struct {
	Index *kv.DB
	Clock clock.Clock
}

// Log is the audit of one node.
type Log struct {
	cfg  Config
	deps Deps
	last atomic.Int64 // newest key's time, so that no two entries share one
}

// New returns the audit that Index holds.
func New(c Config, d Deps) *Log {
	if c.Keep == 0 {
		c.Keep = 90 * 24 * time.Hour
	}
	return &Log{cfg: c, deps: d}
}

var prefix = []byte("a/")

func key(nanos int64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(nanos))
}

// Append adds entries, at the present time. They are durable on return.
func (l *Log) Append(entries ...Entry) error {
	now := l.deps.Clock.Now().UTC()
	b := l.deps.Index.NewBatch()
	defer b.Discard()
	at := l.reserve(now.UnixNano(), int64(len(entries)))
	for i, e := range entries {
		e.Time = now
		raw, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Set(key(at+int64(i)), raw)
	}
	return b.Commit()
}

// reserve returns the first of n keys that nobody else has, at or after a time.
func (l *Log) reserve(at, n int64) int64 {
	for {
		last := l.last.Load()
		first := max(at, last+1)
		if l.last.CompareAndSwap(last, first+n-1) {
			return first
		}
	}
}

// List returns up to limit entries after a cursor, the oldest first, and the cursor to go
// on from; "" is the beginning.
func (l *Log) List(ctx context.Context, cursor string, limit int) (entries []Entry, next string, err error) {
	r := kv.Prefix(prefix)
	if cursor != "" {
		raw, err := hex.DecodeString(cursor)
		if err != nil || len(raw) != 8 {
			return nil, "", InvalidCursor.Field("offset", "the offset did not come from a listing")
		}
		r.Low = append(append(bytes.Clone(prefix), raw...), 0)
	}
	for kvs, err := range l.deps.Index.Scan(ctx, r) {
		if err != nil {
			return nil, "", err
		}
		var e Entry
		if err := json.Unmarshal(kvs.Value, &e); err != nil {
			return nil, "", err
		}
		entries = append(entries, e)
		next = hex.EncodeToString(kvs.Key[len(prefix):])
		if len(entries) == limit {
			return entries, next, nil
		}
	}
	return entries, "", nil
}

// Run drops entries that are too old, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := l.Trim(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Trim drops entries that are too old.
func (l *Log) Trim() error {
	b := l.deps.Index.NewBatch()
	b.DeleteRange(prefix, key(l.deps.Clock.Now().Add(-l.cfg.Keep).UnixNano()))
	return b.CommitUnsynced()
}
