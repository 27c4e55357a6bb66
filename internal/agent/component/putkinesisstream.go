package component

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/api/aws/kinesis"
)

func putKinesisStream() engine.Definition {
	return engine.Definition{
		Type: "org.apache.nifi.processors.aws.kinesis.stream.PutKinesisStream", Description: "Sends flow files as records to a Kinesis stream", Input: engine.InputRequired,
		Properties: awsProperties(
			engine.Property{Name: "Stream Name", Required: true, Expression: true},
			engine.Property{Name: "Stream Partition Key", Description: "A random one if empty", Default: "${kinesis.partition.key}", Expression: true},
			engine.Property{Name: "Message Batch Size", Default: "250", Required: true, Check: engine.Integer(1, 500)},
		),
		Relationships: []engine.Relationship{success, failure},
		New: func(s *engine.Settings) (engine.Processor, error) {
			return &kinesisPutter{set: s, client: kinesis.Client{Client: awsClient(s, "kinesis")}}, nil
		},
	}
}

type kinesisPutter struct {
	set    *engine.Settings
	client kinesis.Client
}

// Bounds of Kinesis for one record and for one request.
const (
	maxKinesisRecord = 1 << 20
	maxKinesisBatch  = 4 << 20
)

func (p *kinesisPutter) Trigger(ctx context.Context, s *engine.Session) error {
	list, err := s.GetBatch(p.set.Int("Message Batch Size"), maxKinesisBatch)
	if err != nil {
		return err
	}
	byStream := map[string][]*engine.FlowFile{}
	entries := map[string][]kinesis.PutRecordsRequestEntry{}
	for _, f := range list {
		stream, entry, err := p.entry(s, f)
		if err != nil {
			fail(p.set, s, f, err)
			continue
		}
		byStream[stream] = append(byStream[stream], f)
		entries[stream] = append(entries[stream], entry)
	}
	for stream, files := range byStream {
		out, err := p.client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &stream, Records: entries[stream]})
		if err == nil && len(out.Records) != len(files) {
			err = errors.New("the answer does not fit the request")
		}
		for i, f := range files {
			switch {
			case err != nil:
				f.Attributes["aws.kinesis.error.message"] = err.Error()
				fail(p.set, s, f, err)
			case out.Records[i].ErrorCode != nil:
				code := *out.Records[i].ErrorCode
				f.Attributes["aws.kinesis.error.code"] = code
				fail(p.set, s, f, fmt.Errorf("the stream refuses the record: %s", code))
			default:
				set(f, "aws.kinesis.sequence.number", out.Records[i].SequenceNumber)
				set(f, "aws.kinesis.shard.id", out.Records[i].ShardId)
				s.Transfer(f, success.Name)
			}
		}
	}
	return nil
}

// set sets an attribute if there is a value.
func set(f *engine.FlowFile, name string, v *string) {
	if v != nil {
		f.Attributes[name] = *v
	}
}

func (p *kinesisPutter) entry(s *engine.Session, f *engine.FlowFile) (stream string, e kinesis.PutRecordsRequestEntry, err error) {
	if stream, err = p.set.Eval("Stream Name", f); err != nil {
		return "", e, err
	}
	key, err := p.set.Eval("Stream Partition Key", f)
	if err != nil {
		return "", e, err
	}
	if key == "" {
		key = uuid.NewString()
	}
	e.PartitionKey = &key
	e.Data, err = s.Bytes(f, maxKinesisRecord)
	return stream, e, err
}
