package kinesis

import (
	"context"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/service/streams"
)

// onDemandShards is how many shards a stream has that was asked for without a number, as
// on-demand streams do (Kinesis developer guide, "On-demand mode").
const onDemandShards = 4

func (f front) CreateStream(ctx context.Context, in *CreateStreamInput) (*CreateStreamOutput, error) {
	if err := awswire.Only(in, "StreamName", "ShardCount", "StreamModeDetails"); err != nil {
		return nil, err
	}
	shards := onDemandShards
	onDemand := in.StreamModeDetails == nil && in.ShardCount == nil ||
		in.StreamModeDetails != nil && *in.StreamModeDetails.StreamMode == "ON_DEMAND"
	switch {
	case onDemand && in.ShardCount != nil:
		return nil, streams.InvalidArgument.Field("ShardCount", "ShardCount is not permitted when the stream mode is ON_DEMAND.")
	case in.ShardCount != nil:
		shards = int(*in.ShardCount)
	case !onDemand:
		return nil, streams.InvalidArgument.Field("ShardCount", "ShardCount is required when the stream mode is PROVISIONED.")
	}
	return &CreateStreamOutput{}, f.streams.CreateStream(ctx, *in.StreamName, shards)
}

func (f front) DeleteStream(ctx context.Context, in *DeleteStreamInput) (*DeleteStreamOutput, error) {
	if err := awswire.Only(in, "StreamName", "StreamARN", "EnforceConsumerDeletion"); err != nil {
		return nil, err
	}
	stream, err := streamName(ctx, in.StreamName, in.StreamARN)
	if err != nil {
		return nil, err
	}
	return &DeleteStreamOutput{}, f.streams.DeleteStream(ctx, stream)
}

func mode() *StreamModeDetails { return &StreamModeDetails{StreamMode: new("PROVISIONED")} }

func shard(s streams.Shard) Shard {
	return Shard{ShardId: &s.ID, HashKeyRange: &HashKeyRange{StartingHashKey: &s.Low, EndingHashKey: &s.High},
		SequenceNumberRange: &SequenceNumberRange{StartingSequenceNumber: sequence(-1)}}
}

// shards returns the shards behind the id after, at most limit, and whether there are more.
func shards(all []streams.Shard, after *string, limit int) ([]Shard, bool) {
	out := []Shard{}
	for _, s := range all {
		if after != nil && s.ID <= *after {
			continue
		}
		if len(out) == limit {
			return out, true
		}
		out = append(out, shard(s))
	}
	return out, false
}

func (f front) DescribeStream(ctx context.Context, in *DescribeStreamInput) (*DescribeStreamOutput, error) {
	stream, err := streamName(ctx, in.StreamName, in.StreamARN)
	if err != nil {
		return nil, err
	}
	s, err := f.streams.DescribeStream(ctx, stream, "kinesis:DescribeStream")
	if err != nil {
		return nil, err
	}
	limit := 100
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	list, more := shards(s.Shards, in.ExclusiveStartShardId, limit)
	return &DescribeStreamOutput{StreamDescription: &StreamDescription{
		StreamName: &s.Name, StreamARN: new(s.ARN.String()), StreamStatus: new("ACTIVE"), StreamModeDetails: mode(),
		Shards: list, HasMoreShards: &more, RetentionPeriodHours: new(int64(s.Retention.Hours())), StreamCreationTimestamp: &s.Created,
		EnhancedMonitoring: []EnhancedMetrics{{ShardLevelMetrics: []string{}}}, EncryptionType: new("NONE"),
	}}, nil
}

func (f front) DescribeStreamSummary(ctx context.Context, in *DescribeStreamSummaryInput) (*DescribeStreamSummaryOutput, error) {
	stream, err := streamName(ctx, in.StreamName, in.StreamARN)
	if err != nil {
		return nil, err
	}
	s, err := f.streams.DescribeStream(ctx, stream, "kinesis:DescribeStreamSummary")
	if err != nil {
		return nil, err
	}
	return &DescribeStreamSummaryOutput{StreamDescriptionSummary: &StreamDescriptionSummary{
		StreamName: &s.Name, StreamARN: new(s.ARN.String()), StreamStatus: new("ACTIVE"), StreamModeDetails: mode(),
		RetentionPeriodHours: new(int64(s.Retention.Hours())), StreamCreationTimestamp: &s.Created,
		EnhancedMonitoring: []EnhancedMetrics{{ShardLevelMetrics: []string{}}}, EncryptionType: new("NONE"),
		OpenShardCount: new(int64(len(s.Shards))), ConsumerCount: new(int64(0)),
	}}, nil
}

func (f front) ListStreams(ctx context.Context, in *ListStreamsInput) (*ListStreamsOutput, error) {
	after, limit := "", 100
	if in.ExclusiveStartStreamName != nil {
		after = *in.ExclusiveStartStreamName
	}
	if in.NextToken != nil {
		if err := f.tokens.Open("kinesis streams", *in.NextToken, &after); err != nil {
			return nil, err
		}
	}
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	list, more, err := f.streams.ListStreams(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	out := &ListStreamsOutput{StreamNames: []string{}, HasMoreStreams: &more}
	for _, s := range list {
		out.StreamNames = append(out.StreamNames, s.Name)
		out.StreamSummaries = append(out.StreamSummaries, StreamSummary{StreamName: &s.Name, StreamARN: new(s.ARN.String()),
			StreamStatus: new("ACTIVE"), StreamModeDetails: mode(), StreamCreationTimestamp: &s.Created})
	}
	if more {
		token, err := f.tokens.Seal("kinesis streams", list[len(list)-1].Name)
		if err != nil {
			return nil, err
		}
		out.NextToken = &token
	}
	return out, nil
}

// shardPage is the token of ListShards, which carries the stream as well.
type shardPage struct{ Stream, After string }

func (f front) ListShards(ctx context.Context, in *ListShardsInput) (*ListShardsOutput, error) {
	if err := awswire.Only(in, "StreamName", "StreamARN", "NextToken", "ExclusiveStartShardId", "MaxResults"); err != nil {
		return nil, err
	}
	var p shardPage
	if in.NextToken != nil {
		if in.StreamName != nil || in.StreamARN != nil {
			return nil, streams.InvalidArgument.Field("NextToken", "NextToken and StreamName cannot be provided together.")
		}
		if err := f.tokens.Open("kinesis shards", *in.NextToken, &p); err != nil {
			return nil, err
		}
		in.ExclusiveStartShardId = &p.After
	} else {
		stream, err := streamName(ctx, in.StreamName, in.StreamARN)
		if err != nil {
			return nil, err
		}
		p.Stream = stream
	}
	s, err := f.streams.DescribeStream(ctx, p.Stream, "kinesis:ListShards")
	if err != nil {
		return nil, err
	}
	limit := 1000
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	list, more := shards(s.Shards, in.ExclusiveStartShardId, limit)
	out := &ListShardsOutput{Shards: list}
	if more {
		token, err := f.tokens.Seal("kinesis shards", shardPage{p.Stream, *list[len(list)-1].ShardId})
		if err != nil {
			return nil, err
		}
		out.NextToken = &token
	}
	return out, nil
}
