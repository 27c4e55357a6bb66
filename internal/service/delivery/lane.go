package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/work"
)

// readBytes is how much of the source a lane reads at a time.
const readBytes = 1 << 20

// The waits between attempts after a failure.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// lane delivers one shard.
type lane struct {
	s    *Service
	id   laneID
	doc  *deliveryDoc
	stop context.CancelFunc

	progress progress // owned by run

	mu        sync.Mutex
	delivered int64
	waiting   int64
	lastError string
	lastWrite time.Time
}

func (l *lane) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{Shard: l.id.shard, Delivered: l.delivered, Waiting: l.waiting, LastError: l.lastError, LastWrite: l.lastWrite}
}

// run delivers until ctx ends.
func (l *lane) run(ctx context.Context) {
	log := l.s.deps.Log.With("delivery", l.doc.Name, "shard", l.id.shard)
	retry := work.Retry{Log: log, What: "delivery: writing an object", First: firstRetry, Last: lastRetry}
	loaded := false
	for ctx.Err() == nil {
		err := error(nil)
		if !loaded {
			err = l.load()
			loaded = err == nil
		}
		if err == nil {
			err = l.step(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.lastError = ""
		if err != nil {
			l.lastError = fault.MessageOf(err)
		}
		l.mu.Unlock()
		if err == nil {
			retry.Worked()
			continue
		}
		retry.Wait(ctx, err)
	}
}

// step delivers one object: the one intended before a crash, or the next.
func (l *lane) step(ctx context.Context) error {
	src, err := l.s.deps.Streams.Source(l.doc.SourceID, l.id.shard)
	if err != nil {
		return err
	}
	b := newObject(l.doc.GZIP)
	defer func() { l.s.gathered.Add(-b.bytes) }()
	oldest, end := src.Bounds()
	if at := l.progress.Offset; at > end {
		// The stream was lost and its shard begins anew: all that is in it is to be delivered.
		l.s.deps.Log.Error("delivery: the source ends before what was delivered of it, and is delivered from its beginning", "delivery", l.doc.Name, "shard", l.id.shard, "delivered", at, "end", end)
		if err := l.save(progress{Offset: oldest}); err != nil {
			return err
		}
	}
	if i := l.progress.Intent; i != nil && oldest <= i.From {
		if _, err := l.gather(ctx, src, b, i.From, i.To, 0, time.Time{}); err != nil {
			return err
		}
		return l.deliver(ctx, src, b, *i)
	}
	// Of an intent whose records have expired in part its object would be written anew with
	// the rest. What is left goes into an object of its own.
	from := max(l.progress.Offset, oldest)
	if lost := from - l.progress.Offset; lost > 0 {
		l.s.deps.Log.Error("delivery: records expired before they could be delivered", "delivery", l.doc.Name, "records", lost)
	}
	if err := src.Wait(ctx, from); err != nil {
		return err
	}
	to, err := l.gather(ctx, src, b, from, 0, l.doc.Bytes, l.s.deps.Clock.Now().Add(l.doc.Interval))
	if err != nil {
		return err
	}
	i := intent{From: from, To: to, Key: l.key(from, b.first)}
	if err := l.save(progress{Offset: from, Intent: &i}); err != nil {
		return err
	}
	return l.deliver(ctx, src, b, i)
}

// gather fills b with [from, to); with to 0, until it has enough bytes or the deadline
// passes, and returns where it stopped.
func (l *lane) gather(ctx context.Context, src Source, b *object, from, to, enough int64, deadline time.Time) (int64, error) {
	at := from
	for {
		records, next, err := src.Read(ctx, at, to, readBytes)
		if err != nil {
			return 0, err
		}
		for _, r := range records {
			size := int64(len(r.Value))
			if to == 0 && b.bytes > 0 && (b.bytes+size > enough || b.bytes >= readBytes && l.s.gathered.Load()+size > l.s.cfg.Memory) {
				return r.Offset, nil
			}
			b.add(r)
			l.s.gathered.Add(size)
		}
		at = next
		l.note(src, at)
		switch {
		case to > 0 && at >= to:
			return at, nil
		case to > 0 && len(records) == 0:
			return 0, fmt.Errorf("delivery: records %d to %d are gone", at, to)
		case to > 0 || len(records) > 0 && b.bytes < enough && l.s.deps.Clock.Now().Before(deadline):
			continue
		case b.bytes >= enough:
			return at, nil
		}
		left := deadline.Sub(l.s.deps.Clock.Now())
		if left <= 0 {
			return at, nil
		}
		waitCtx, cancel := context.WithTimeout(ctx, left)
		err = src.Wait(waitCtx, at)
		cancel()
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			return at, nil // the deadline
		}
	}
}

func (l *lane) note(src Source, at int64) {
	_, end := src.Bounds()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = end - at
}

// deliver writes the intended object and moves on.
func (l *lane) deliver(ctx context.Context, src Source, b *object, i intent) error {
	body, err := b.finish()
	if err != nil {
		return err
	}
	headers := map[string]string{"Content-Type": "application/octet-stream"}
	request := fmt.Sprintf("delivery/%s/%d/%d", l.doc.Name, l.id.shard, i.From)
	if err := l.s.deps.Objects.Put(l.doc.as(ctx, request), l.doc.Bucket, i.Key, body, headers); err != nil {
		return err
	}
	if err := l.save(progress{Offset: i.To}); err != nil {
		return err
	}
	l.note(src, i.To)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivered += i.To - i.From
	l.lastWrite = l.s.deps.Clock.Now()
	return nil
}

// key names the object of a range. The same range has the same key.
func (l *lane) key(from int64, first time.Time) string {
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s/%d/%d", l.id.delivery, l.id.shard, from))
	// The prefix was checked when the delivery stream was made.
	prefix, _ := expandPrefix(l.doc.Prefix, first, id.String()[:11])
	key := prefix + fmt.Sprintf("%s-1-%s-%s", l.doc.Name, first.UTC().Format("2006-01-02-15-04-05"), id)
	if l.doc.GZIP {
		key += ".gz"
	}
	return key
}

// object is an object in the making.
type object struct {
	buf   bytes.Buffer
	zip   *gzip.Writer
	bytes int64 // before compression
	first time.Time
}

func newObject(zip bool) *object {
	o := new(object)
	if zip {
		o.zip = gzip.NewWriter(&o.buf)
	}
	return o
}

func (o *object) add(r Record) {
	if o.bytes == 0 {
		o.first = r.Time
	}
	o.bytes += int64(len(r.Value))
	if o.zip != nil {
		_, _ = o.zip.Write(r.Value) // into memory: never fails
		return
	}
	o.buf.Write(r.Value)
}

func (o *object) finish() (io.Reader, error) {
	if o.zip != nil {
		if err := o.zip.Close(); err != nil {
			return nil, err
		}
	}
	return bytes.NewReader(o.buf.Bytes()), nil
}
