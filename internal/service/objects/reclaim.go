package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/work"
)

// Run gives back space until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.ReclaimEvery)
	defer tick.Stop()
	var r reclaimer
	retry := work.Retry{Log: s.deps.Log, What: "objects: giving back space", Level: slog.LevelError, First: s.cfg.ReclaimEvery, Last: s.cfg.ReclaimEvery}
	if err := r.missing(ctx, s); err != nil && ctx.Err() == nil {
		retry.Failed(err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.pass(ctx, s); err == nil {
				retry.Worked()
			} else if ctx.Err() == nil {
				retry.Failed(err)
			}
		}
	}
}

// Reclaim gives back space now: the bytes of deleted objects, and what crashes left behind.
func (s *Service) Reclaim(ctx context.Context) error {
	var r reclaimer
	return errors.Join(r.pass(ctx, s), r.pass(ctx, s))
}

// reclaimer remembers which segments nothing referred to. Only one that was so in two
// passes is deleted, as a part is on the disk before its metadata is.
type reclaimer struct {
	idle map[uint64]bool
	told map[uint64]bool // segments that are missing, each reported once
}

// missing reports segments that metadata refers to and that are not there.
func (r *reclaimer) missing(ctx context.Context, s *Service) error {
	live, err := s.liveBytes(ctx)
	if err != nil {
		return err
	}
	for id, bytes := range live {
		_, err := os.Stat(s.bytes.path(id))
		if !errors.Is(err, os.ErrNotExist) || r.told[id] {
			continue
		}
		if still, err := s.liveBytes(ctx); err != nil || still[id] == 0 {
			continue // moved or deleted meanwhile
		}
		if r.told == nil {
			r.told = map[uint64]bool{}
		}
		r.told[id] = true
		s.deps.Log.Error("objects: a segment is missing: objects in it cannot be read; restore it from a backup of the data directory, or write them again",
			"segment", s.bytes.path(id), "bytes", bytes)
	}
	return nil
}

func (r *reclaimer) pass(ctx context.Context, s *Service) error {
	busy := s.bytes.pinned() // before the rest: what has no pin now is in the metadata, if anywhere
	ids, err := s.bytes.segments()
	if err != nil {
		return err
	}
	if err := s.sweepBuckets(ctx); err != nil {
		return err
	}
	live, err := s.liveBytes(ctx)
	if err != nil {
		return err
	}
	idle := map[uint64]bool{}
	sparse := map[uint64]bool{}
	for _, id := range ids {
		if busy[id] > 0 {
			continue
		}
		st, err := os.Stat(s.bytes.path(id))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		switch used := live[id]; {
		case used == 0 && r.idle[id]:
			if err := os.Remove(s.bytes.path(id)); err != nil {
				return fmt.Errorf("objects: %w", err)
			}
		case used == 0:
			idle[id] = true
		case used*2 < st.Size():
			sparse[id] = true
		}
	}
	r.idle = idle
	if err := r.missing(ctx, s); err != nil {
		return err
	}
	return s.evacuate(ctx, sparse)
}

// frameLength is what a part takes in its segment.
func frameLength(size int64) int64 {
	return size + (size+frameBytes-1)/frameBytes*segment.Overhead
}

// liveBytes counts what metadata refers to, by segment.
func (s *Service) liveBytes(ctx context.Context) (map[uint64]int64, error) {
	live := map[uint64]int64{}
	for e, err := range s.deps.Index.Scan(ctx, kv.Prefix([]byte("o/"))) {
		var o object
		if err == nil {
			err = json.Unmarshal(e.Value, &o)
		}
		if err != nil {
			return nil, err
		}
		for _, p := range o.Parts {
			live[p.Segment] += frameLength(p.Size)
		}
	}
	for e, err := range s.deps.Index.Scan(ctx, kv.Prefix([]byte("p/"))) {
		var p uploadPart
		if err == nil {
			err = json.Unmarshal(e.Value, &p)
		}
		if err != nil {
			return nil, err
		}
		live[p.Part.Segment] += frameLength(p.Part.Size)
	}
	return live, nil
}

// sweepBuckets removes the metadata that a put left in a bucket deleted in the same moment.
func (s *Service) sweepBuckets(ctx context.Context) error {
	known := map[string]bool{}
	for _, d := range s.records.buckets.All(s.deps.Store.Snapshot(), "") {
		known[d.ID] = true
	}
	for _, kind := range []string{"o/", "u/", "p/"} {
		low, high := []byte(kind), kv.After([]byte(kind))
		for low != nil {
			var next []byte
			for e, err := range s.deps.Index.Scan(ctx, kv.Range{Low: low, High: high}) {
				if err != nil {
					return err
				}
				id := string(e.Key[len(kind) : len(kind)+36]) // a UUID
				next = kv.After([]byte(kind + id + "/"))
				if !known[id] && !s.bucketKnown(id) { // asked again: it may be new
					b := s.deps.Index.NewBatch()
					b.DeleteRange([]byte(kind+id+"/"), next)
					if err := b.Commit(); err != nil {
						return err
					}
				}
				break
			}
			low = next
		}
	}
	return nil
}

// evacuate moves the small parts of sparse common segments into the present one. Frames
// are moved sealed, so no key is needed.
func (s *Service) evacuate(ctx context.Context, sparse map[uint64]bool) error {
	if len(sparse) == 0 {
		return nil
	}
	for e, err := range s.deps.Index.Scan(ctx, kv.Prefix([]byte("o/"))) {
		var o object
		if err == nil {
			err = json.Unmarshal(e.Value, &o)
		}
		if err != nil {
			return err
		}
		bucket, key, _ := strings.Cut(string(e.Key[len("o/"):]), "/")
		for i, p := range o.Parts {
			if !sparse[p.Segment] || p.Own {
				continue
			}
			if err := s.move(ctx, bucket, key, i, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) move(ctx context.Context, bucket, key string, index int, p part) error {
	f, err := os.Open(s.bytes.path(p.Segment))
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	moved := &smallPart{frames: make([]byte, frameLength(p.Size))}
	if _, err := f.ReadAt(moved.frames, p.Offset); err != nil {
		return segment.Damage(err, s.bytes.path(p.Segment), p.Offset)
	}
	if err := s.bytes.place(ctx, moved); err != nil {
		return err
	}
	defer s.bytes.unpin(part{Segment: moved.segment})
	mu := s.lock(bucket, key)
	mu.Lock()
	defer mu.Unlock()
	o, err := s.getObject(bucket, key)
	if err != nil || o == nil || index >= len(o.Parts) || string(o.Parts[index].Salt) != string(p.Salt) {
		return err // replaced or deleted meanwhile: the copy is garbage too
	}
	o.Parts[index].Segment, o.Parts[index].Offset = moved.segment, moved.offset
	return s.deps.Index.Set(objectKey(bucket, key), encode(o))
}
