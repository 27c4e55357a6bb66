package streams

import (
	"context"
	"crypto/md5" //nolint:gosec // Kinesis maps keys to shards by MD5; it protects nothing
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Stream describes a stream.
type Stream struct {
	Name      string
	ARN       name.ARN
	ID        string
	Shards    []Shard
	Retention time.Duration
	Created   time.Time
}

// Shard describes a shard.
type Shard struct {
	Index     int
	ID        string
	Low, High string // hash keys, decimal, inclusive
}

var streamForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

// maxHash is the largest hash key, 2^128-1.
var maxHash = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))

func (s *Service) describe(d *streamDoc) Stream {
	out := Stream{Name: d.Name, ARN: s.arn(d.Region, d.Name), ID: d.ID, Retention: d.Retention, Created: d.Created}
	for i, sh := range d.Shards {
		out.Shards = append(out.Shards, Shard{Index: i, ID: shardName(i), Low: sh.Low, High: sh.High})
	}
	return out
}

// CreateStream makes a stream whose shards share the hash keys evenly. It is ready on return.
func (s *Service) CreateStream(ctx context.Context, stream string, shards int) error {
	region := caller.Region(ctx)
	if err := s.deps.Auth.Authorize(ctx, "kinesis:CreateStream", s.arn(region, stream)); err != nil {
		return err
	}
	if !streamForm.MatchString(stream) {
		return InvalidArgument.Field("StreamName", "a stream's name is 1 to 128 letters, digits, _, . or -, not %q", stream)
	}
	return s.create(ctx, region, stream, shards, false)
}

// EnsureInternal makes a stream of one shard that a service keeps for itself, if there is none.
// Its name cannot collide with one of CreateStream.
func (s *Service) EnsureInternal(ctx context.Context, region, stream string) error {
	stream = internalPrefix + stream
	if s.records.streams.Has(s.deps.Store.Snapshot(), streamKey(region, stream)) {
		return nil
	}
	err := s.create(ctx, region, stream, 1, true)
	if StreamExists.Is(err) {
		return nil
	}
	return err
}

const internalPrefix = "~" // not in streamForm

func (s *Service) create(ctx context.Context, region, stream string, shards int, internal bool) error {
	if shards < 1 || shards > s.cfg.MaxShards {
		return InvalidArgument.Field("ShardCount", "a stream has 1 to %d shards, not %d", s.cfg.MaxShards, shards)
	}
	d := &streamDoc{ID: uuid.NewString(), Region: region, Name: stream, Internal: internal,
		Retention: 24 * time.Hour, Created: s.deps.Clock.Now().UTC()}
	width := new(big.Int).Div(new(big.Int).Add(maxHash, big.NewInt(1)), big.NewInt(int64(shards)))
	low := new(big.Int)
	for i := range shards {
		next := new(big.Int).Add(low, width)
		high := new(big.Int).Sub(next, big.NewInt(1))
		if i == shards-1 {
			high = maxHash
		}
		d.Shards = append(d.Shards, shardDoc{Low: low.String(), High: high.String()})
		low = next
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		total := shards
		for _, other := range s.records.streams.All(tx, "") {
			if other.Region == region {
				total += len(other.Shards)
			}
		}
		if total > s.cfg.MaxShards && !internal {
			return LimitExceeded.New("the account may have %d shards in a region", s.cfg.MaxShards)
		}
		if s.records.streams.Has(tx, streamKey(region, stream)) {
			return StreamExists.Field("StreamName", "Stream %s under account %s already exists.", stream, s.cfg.Account)
		}
		return s.records.streams.Insert(tx, streamKey(region, stream), d)
	})
}

// find returns a stream after asking whether the caller may do action to it.
func (s *Service) find(ctx context.Context, r store.Reader, stream string, action name.Action) (*streamDoc, error) {
	region := caller.Region(ctx)
	if err := s.deps.Auth.Authorize(ctx, action, s.arn(region, stream)); err != nil {
		return nil, err
	}
	d, ok := s.records.streams.Get(r, streamKey(region, stream))
	if !ok || d.Internal {
		return nil, s.noStream(stream)
	}
	return d, nil
}

func (s *Service) noStream(stream string) error {
	return NoStream.Field("StreamName", "Stream %s under account %s not found.", stream, s.cfg.Account)
}

// DescribeStream returns a stream. The action is the API's own name for the call.
func (s *Service) DescribeStream(ctx context.Context, stream string, action name.Action) (Stream, error) {
	d, err := s.find(ctx, s.deps.Store.Snapshot(), stream, action)
	if err != nil {
		return Stream{}, err
	}
	return s.describe(d), nil
}

// ListStreams returns at most limit streams of the caller's region behind the name after,
// and whether there are more.
func (s *Service) ListStreams(ctx context.Context, after string, limit int) (streams []Stream, more bool, err error) {
	if err := s.deps.Auth.Authorize(ctx, "kinesis:ListStreams", name.Any); err != nil {
		return nil, false, err
	}
	for _, d := range s.records.streams.Prefix(s.deps.Store.Snapshot(), caller.Region(ctx)+"/") {
		if d.Internal || d.Name <= after {
			continue
		}
		if len(streams) == limit {
			return streams, true, nil
		}
		streams = append(streams, s.describe(d))
	}
	return streams, false, nil
}

// DeleteStream removes a stream and its records.
func (s *Service) DeleteStream(ctx context.Context, stream string) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := s.find(ctx, tx, stream, "kinesis:DeleteStream")
		if err != nil {
			return err
		}
		_, err = s.records.streams.Delete(tx, streamKey(d.Region, d.Name))
		return err
	})
}

// DeleteInternal removes a stream of EnsureInternal.
func (s *Service) DeleteInternal(ctx context.Context, region, stream string) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := s.records.streams.Delete(tx, streamKey(region, internalPrefix+stream))
		return err
	})
}

// changed closes the logs of streams that are gone. Their files go with the next expiry,
// so that a deletion costs no time here.
func (s *Service) changed(snap *store.Snapshot, changes []store.Change) {
	relevant := len(changes) == 0
	for _, c := range changes {
		relevant = relevant || c.Collection == "streams" && c.Deleted
	}
	if !relevant {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, sh := range s.shards {
		if _, _, ok := s.records.streams.Lookup(snap, "id", id.stream); !ok {
			delete(s.shards, id)
			s.ending[id] = sh
			go sh.close() // it waits for the write under way
		}
	}
}

// remove deletes the directory of a stream that is gone, once nothing writes to it.
func (s *Service) remove(stream string) error {
	s.mu.Lock()
	var open []*shard
	for _, shards := range []map[shardID]*shard{s.shards, s.ending} {
		for id, sh := range shards {
			if id.stream == stream {
				open = append(open, sh)
				delete(shards, id)
			}
		}
	}
	s.mu.Unlock()
	for _, sh := range open {
		sh.close()
	}
	return os.RemoveAll(filepath.Join(s.cfg.Dir, stream))
}

// Expire deletes what is past its retention, and the directories of deleted streams. Run
// does it every minute. One shard's failure does not keep the others.
func (s *Service) Expire(ctx context.Context) error {
	var errs []error
	for _, d := range s.records.streams.All(s.deps.Store.Snapshot(), "") {
		for i := range d.Shards {
			sh, err := s.shard(d, i)
			if err == nil {
				err = sh.expire(ctx, s.deps.Clock.Now().Add(-d.Retention))
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && !NoStream.Is(err) { // it may be deleted meanwhile
				errs = append(errs, fmt.Errorf("stream %s, %s: %w", d.Name, shardName(i), err))
			}
		}
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it is made with the first shard
		errs = append(errs, err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue // not a stream's
		}
		if _, _, ok := s.records.streams.Lookup(s.deps.Store.Snapshot(), "id", e.Name()); !ok {
			if err := s.remove(e.Name()); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// route returns the index of the shard that a record belongs to.
func (d *streamDoc) route(key, explicitHash string) (int, error) {
	if len(d.Shards) == 1 && explicitHash == "" {
		return 0, nil
	}
	hash := new(big.Int)
	if explicitHash != "" {
		if _, ok := hash.SetString(explicitHash, 10); !ok || hash.Sign() < 0 || hash.Cmp(maxHash) > 0 || strings.HasPrefix(explicitHash, "+") {
			return 0, InvalidArgument.Field("ExplicitHashKey", "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s", explicitHash)
		}
	} else {
		sum := md5.Sum([]byte(key)) //nolint:gosec // see the import
		hash.SetBytes(sum[:])
	}
	width := new(big.Int).Div(new(big.Int).Add(maxHash, big.NewInt(1)), big.NewInt(int64(len(d.Shards))))
	i := int(new(big.Int).Div(hash, width).Int64())
	return min(i, len(d.Shards)-1), nil
}
