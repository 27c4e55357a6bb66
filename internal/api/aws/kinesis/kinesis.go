package kinesis

import (
	"context"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/page"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/service/streams"
)

type front struct {
	streams *streams.Service
	tokens  *page.Tokens
}

var _ Operations = front{}

// New returns the API over s.
func New(s *streams.Service, tokens *page.Tokens) awswire.Service {
	svc := Service(front{s, tokens})
	svc.Resources, svc.Codes = resources, codes
	return svc
}

var resources = map[string][]name.Action{
	"CreateStream":          {"kinesis:CreateStream"},
	"DeleteStream":          {"kinesis:DeleteStream"},
	"DescribeStream":        {"kinesis:DescribeStream"},
	"DescribeStreamSummary": {"kinesis:DescribeStreamSummary"},
	"GetRecords":            {"kinesis:GetRecords"},
	"GetShardIterator":      {"kinesis:GetShardIterator"},
	"ListShards":            {"kinesis:ListShards"},
	"ListStreams":           {"kinesis:ListStreams"},
	"PutRecord":             {"kinesis:PutRecord"},
	"PutRecords":            {"kinesis:PutRecords"},
}

var codes = map[*fault.Reason]awswire.Code{
	streams.NoStream:        {Code: "ResourceNotFoundException", Status: 400},
	streams.NoShard:         {Code: "ResourceNotFoundException", Status: 400},
	streams.StreamExists:    {Code: "ResourceInUseException", Status: 400},
	streams.InvalidArgument: {Code: "InvalidArgumentException", Status: 400},
	streams.ExpiredPosition: {Code: "ExpiredIteratorException", Status: 400},
	streams.LimitExceeded:   {Code: "LimitExceededException", Status: 400},
	page.BadToken:           {Code: "InvalidArgumentException", Status: 400},
	segment.Full:            {Code: "ProvisionedThroughputExceededException", Status: 400},
	segment.DiskFull:        {Code: "ProvisionedThroughputExceededException", Status: 400},
}

// streamName takes the stream's name from the two members that may name it. An ARN of another region or
// account names no stream that this call can reach.
func streamName(ctx context.Context, stream, arn *string) (string, error) {
	if arn == nil {
		if stream == nil {
			return "", streams.InvalidArgument.Field("StreamName", "Either StreamARN or StreamName must be provided.")
		}
		return *stream, nil
	}
	a, err := name.ParseARN(*arn)
	of, ok := strings.CutPrefix(a.Resource, "stream/")
	who, _ := caller.From(ctx)
	switch {
	case err != nil || !ok || of == "" || a.Service != "kinesis":
		return "", streams.InvalidArgument.Field("StreamARN", "%s is not the ARN of a stream", *arn)
	case stream != nil && *stream != of:
		return "", streams.InvalidArgument.Field("StreamARN", "StreamARN %s and StreamName %s name two streams", *arn, *stream)
	case !a.Within("kinesis", caller.Region(ctx), who.Account):
		return "", streams.NoStream.Field("StreamARN", "Stream %s is not found in region %s of account %s.", *arn, caller.Region(ctx), who.Account)
	}
	return of, nil
}

// Sequence numbers are offsets counted from one, as a sequence number is never 0 in a record.
func sequence(offset int64) *string { return new(strconv.FormatInt(offset+1, 10)) }

func offset(sequence string) (int64, error) {
	n, err := strconv.ParseInt(sequence, 10, 64)
	if err != nil || n < 0 {
		return 0, streams.InvalidArgument.Field("StartingSequenceNumber", "Invalid StartingSequenceNumber %s: it is none of this shard's", sequence)
	}
	return n - 1, nil
}
