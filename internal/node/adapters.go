package node

import (
	"context"
	"io"
	"iter"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/delivery"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
	"sluice.dev/sluice/internal/service/iam"
	"sluice.dev/sluice/internal/service/kms"
	"sluice.dev/sluice/internal/service/objects"
	"sluice.dev/sluice/internal/service/streams"
	"sluice.dev/sluice/internal/service/warehouse"
)

// The types of this file let one service serve the interface that another declares. They
// translate names and nothing else.

// credentials gives the AWS front and the SQL front what identities sign in with.
type credentials struct{ iam *iam.Service }

func (c credentials) Lookup(ctx context.Context, key string) (awswire.Credential, error) {
	secret, id, err := c.iam.Credential(ctx, key)
	return awswire.Credential{Secret: secret, Identity: id}, err
}

func (c credentials) SQLPassword(ctx context.Context, user string) (string, caller.Identity, error) {
	return c.iam.Credential(ctx, user)
}

// platformKeys wraps under the platform's key for the streams.
type platformKeys struct{ kms *kms.Service }

func (k platformKeys) NewDataKey(ctx context.Context, binding []byte) ([32]byte, []byte, error) {
	plain, wrapped, _, err := k.kms.NewDataKey(ctx, "", binding)
	return plain, wrapped, err
}

func (k platformKeys) OpenDataKey(ctx context.Context, wrapped, binding []byte) ([32]byte, error) {
	return k.kms.OpenDataKey(ctx, wrapped, binding)
}

// appender is what the collector writes to.
type appender struct {
	streams *streams.Service
	region  string
}

func (a appender) Append(ctx context.Context, stream string, events []collector.Record) error {
	records := make([]streams.Record, len(events))
	list := make([]*streams.Record, len(events))
	for i, e := range events {
		records[i] = streams.Record{Key: string(e.Key), Value: e.Value, Time: e.Time}
		list[i] = &records[i]
	}
	return a.streams.Append(ctx, a.region, stream, list)
}

// sources is what deliveries read.
type sources struct{ streams *streams.Service }

func (s sources) ID(ctx context.Context, stream string) (string, int, error) {
	return s.streams.ID(ctx, stream)
}

func (s sources) Source(id string, shard int) (delivery.Source, error) {
	r, err := s.streams.Reader(id, shard)
	if err != nil {
		return nil, err
	}
	return source{r}, nil
}

func (s sources) EnsureBuffer(ctx context.Context, region, buffer string) (string, error) {
	if err := s.streams.EnsureInternal(ctx, region, buffer); err != nil {
		return "", err
	}
	return s.streams.InternalID(region, buffer)
}

func (s sources) DeleteBuffer(ctx context.Context, region, buffer string) error {
	return s.streams.DeleteInternal(ctx, region, buffer)
}

func (s sources) AppendBuffer(ctx context.Context, region, buffer string, values [][]byte) error {
	records := make([]streams.Record, len(values))
	list := make([]*streams.Record, len(values))
	for i, v := range values {
		records[i].Value = v
		list[i] = &records[i]
	}
	return s.streams.AppendInternal(ctx, region, buffer, list)
}

type source struct{ *streams.Reader }

func (s source) Read(ctx context.Context, from, before int64, bytes int) ([]delivery.Record, int64, error) {
	records, next, err := s.Reader.Read(ctx, from, before, bytes)
	out := make([]delivery.Record, len(records))
	for i, r := range records {
		out[i] = delivery.Record{Value: r.Value, Time: r.Time, Offset: r.Offset}
	}
	return out, next, err
}

// buckets is what deliveries write to.
type buckets struct{ objects *objects.Service }

func (b buckets) Put(ctx context.Context, bucket, key string, body io.Reader, headers map[string]string) error {
	_, err := b.objects.Put(ctx, bucket, key, body, objects.PutOptions{Headers: headers})
	return err
}

func (b buckets) Writable(ctx context.Context, bucket, prefix string) error {
	return b.objects.Writable(ctx, bucket, prefix)
}

// tables is what SQL reads of the buckets, as the session's identity.
type tables struct{ objects *objects.Service }

func (t tables) List(ctx context.Context, bucket, prefix string) iter.Seq2[warehouse.ObjectInfo, error] {
	return infos(t.objects.All(ctx, bucket, prefix))
}

func (t tables) Open(ctx context.Context, bucket, key string) (io.ReadCloser, warehouse.ObjectInfo, error) {
	o, err := t.objects.Open(ctx, bucket, key, objects.Range{})
	if err != nil {
		return nil, warehouse.ObjectInfo{}, err
	}
	return o.Body, info(o.Info), nil
}

// area is the warehouse's own storage.
type area struct{ *objects.Area }

func (a area) List(ctx context.Context, prefix string) iter.Seq2[warehouse.ObjectInfo, error] {
	return infos(a.Area.List(ctx, prefix))
}

func (a area) Open(ctx context.Context, key string) (io.ReadCloser, warehouse.ObjectInfo, error) {
	o, err := a.Area.Open(ctx, key)
	if err != nil {
		return nil, warehouse.ObjectInfo{}, err
	}
	return o.Body, info(o.Info), nil
}

func info(i objects.Info) warehouse.ObjectInfo {
	return warehouse.ObjectInfo{Key: i.Key, Size: i.Size, ETag: i.ETag, Modified: i.Modified}
}

func infos(seq iter.Seq2[objects.Info, error]) iter.Seq2[warehouse.ObjectInfo, error] {
	return func(yield func(warehouse.ObjectInfo, error) bool) {
		for i, err := range seq {
			if !yield(info(i), err) {
				return
			}
		}
	}
}
