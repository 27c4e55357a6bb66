package kinesis

import (
	"context"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/streams"
)

func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// PutRecord ignores SequenceNumberForOrdering, which asks for what is always so: one
// producer's records that wait for each other are in order.
func (f front) PutRecord(ctx context.Context, in *PutRecordInput) (*PutRecordOutput, error) {
	stream, err := streamName(ctx, in.StreamName, in.StreamARN)
	if err != nil {
		return nil, err
	}
	placed, err := f.streams.PutRecords(ctx, stream,
		[]streams.Put{{Key: *in.PartitionKey, ExplicitHash: value(in.ExplicitHashKey), Value: in.Data}}, "kinesis:PutRecord")
	if err == nil {
		err = placed[0].Err
	}
	if err != nil {
		return nil, err
	}
	return &PutRecordOutput{ShardId: &placed[0].Shard, SequenceNumber: sequence(placed[0].Offset)}, nil
}

// maxPutBytes is what one PutRecords may carry, keys included (Kinesis API, PutRecords).
const maxPutBytes = 10 << 20

func (f front) PutRecords(ctx context.Context, in *PutRecordsInput) (*PutRecordsOutput, error) {
	stream, err := streamName(ctx, in.StreamName, in.StreamARN)
	if err != nil {
		return nil, err
	}
	puts := make([]streams.Put, len(in.Records))
	total := 0
	for i := range in.Records {
		r := &in.Records[i]
		puts[i] = streams.Put{Key: *r.PartitionKey, ExplicitHash: value(r.ExplicitHashKey), Value: r.Data}
		total += len(r.Data) + len(*r.PartitionKey)
	}
	if total > maxPutBytes {
		return nil, streams.InvalidArgument.Field("Records", "Records size exceeds %d bytes", maxPutBytes)
	}
	placed, err := f.streams.PutRecords(ctx, stream, puts, "kinesis:PutRecords")
	if err != nil {
		return nil, err
	}
	out := &PutRecordsOutput{Records: make([]PutRecordsResultEntry, len(placed)), FailedRecordCount: new(int64)}
	for i := range placed {
		p := &placed[i]
		if p.Err == nil {
			out.Records[i] = PutRecordsResultEntry{ShardId: &p.Shard, SequenceNumber: sequence(p.Offset)}
			continue
		}
		*out.FailedRecordCount++
		code := "InternalFailure"
		if c, ok := codes[fault.ReasonOf(p.Err)]; ok {
			code = c.Code
		}
		out.Records[i] = PutRecordsResultEntry{ErrorCode: &code, ErrorMessage: new(fault.MessageOf(p.Err))}
	}
	return out, nil
}

func (f front) GetShardIterator(ctx context.Context, in *GetShardIteratorInput) (*GetShardIteratorOutput, error) {
	stream, err := streamName(ctx, in.StreamName, in.StreamARN)
	if err != nil {
		return nil, err
	}
	var from streams.From
	var at int64
	var when time.Time
	switch *in.ShardIteratorType {
	case "TRIM_HORIZON":
		from = streams.Oldest
	case "LATEST":
		from = streams.Latest
	case "AT_TIMESTAMP":
		if in.Timestamp == nil {
			return nil, streams.InvalidArgument.Field("Timestamp", "Must either specify a Timestamp or use another ShardIteratorType.")
		}
		from, when = streams.AtTime, *in.Timestamp
	default:
		if in.StartingSequenceNumber == nil {
			return nil, streams.InvalidArgument.Field("StartingSequenceNumber", "Must either specify a StartingSequenceNumber or use another ShardIteratorType.")
		}
		if at, err = offset(*in.StartingSequenceNumber); err != nil {
			return nil, err
		}
		if *in.ShardIteratorType == "AFTER_SEQUENCE_NUMBER" {
			at++
		}
		from = streams.AtOffset
	}
	p, err := f.streams.ShardIterator(ctx, stream, *in.ShardId, from, at, when)
	if err != nil {
		return nil, err
	}
	token, err := f.tokens.Seal("kinesis iterator", p)
	return &GetShardIteratorOutput{ShardIterator: &token}, err
}

func (f front) GetRecords(ctx context.Context, in *GetRecordsInput) (*GetRecordsOutput, error) {
	var p streams.Position
	if err := f.tokens.Open("kinesis iterator", *in.ShardIterator, &p); err != nil {
		return nil, streams.InvalidArgument.Field("ShardIterator", "Invalid ShardIterator.")
	}
	limit := 0
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	got, err := f.streams.GetRecords(ctx, p, limit)
	if err != nil {
		return nil, err
	}
	next, err := f.tokens.Seal("kinesis iterator", got.Next)
	if err != nil {
		return nil, err
	}
	out := &GetRecordsOutput{Records: make([]Record, len(got.Records)), NextShardIterator: &next, MillisBehindLatest: new(got.Behind.Milliseconds())}
	for i := range got.Records {
		r := &got.Records[i]
		out.Records[i] = Record{SequenceNumber: sequence(r.Offset), ApproximateArrivalTimestamp: &r.Time, Data: r.Value, PartitionKey: &r.Key}
	}
	return out, nil
}
