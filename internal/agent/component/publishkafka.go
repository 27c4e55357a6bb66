package component

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/internal/agent/engine"
)

func publishKafka() engine.Definition {
	return engine.Definition{
		Type: "org.apache.nifi.kafka.processors.PublishKafka", Description: "Sends flow files as records to a topic of Kafka", Input: engine.InputRequired,
		Properties: []engine.Property{
			{Name: "Kafka Connection Service", Required: true, Service: kafkaAPI},
			{Name: "Topic Name", Required: true, Expression: true},
			{Name: "Kafka Key", Description: "Key of the record; none if empty", Expression: true},
			{Name: "acks", DisplayName: "Delivery Guarantee", Default: "all", Required: true, Allowed: []string{"all", "1", "0"}},
			{Name: "compression.type", DisplayName: "Compression Type", Default: "none", Required: true, Allowed: []string{"none", "gzip", "snappy", "lz4", "zstd"}},
			{Name: "max.request.size", DisplayName: "Max Request Size", Default: "1 MB", Required: true, Check: engine.Size},
		},
		Relationships: []engine.Relationship{success, failure},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &kafkaPublisher{set: s}, nil },
	}
}

type kafkaPublisher struct {
	set    *engine.Settings
	client *kgo.Client
}

// deliverTimeout is how long records are tried before they go to failure.
const deliverTimeout = 30 * time.Second

// Start implements engine.Starter. It does not wait for brokers.
func (p *kafkaPublisher) Start(context.Context, *engine.Host) error {
	link, ok := p.set.Service("Kafka Connection Service").(*kafkaLink)
	if !ok {
		return errors.New("the connection service is of another kind")
	}
	size := p.set.Size("max.request.size")
	options := append([]kgo.Opt{kgo.RecordDeliveryTimeout(deliverTimeout), kgo.ProducerBatchMaxBytes(int32(min(max(size, 1024), maxText))), //nolint:gosec // bounded
		kgo.MaxBufferedBytes(maxText), kgo.AllowAutoTopicCreation()}, link.options...)
	switch p.set.Text("acks") {
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	}
	codec := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[p.set.Text("compression.type")]
	var err error
	p.client, err = kgo.NewClient(append(options, kgo.ProducerBatchCompression(codec))...)
	return err
}

// Stop implements engine.Stopper.
func (p *kafkaPublisher) Stop() { p.client.Close() }

func (p *kafkaPublisher) Trigger(ctx context.Context, s *engine.Session) error {
	list, err := s.GetBatch(500, 16<<20)
	if err != nil {
		return err
	}
	results := make([]error, len(list))
	var records []*kgo.Record
	var at []int
	for i, f := range list {
		r, err := p.record(s, f)
		if err != nil {
			results[i] = err
			continue
		}
		records, at = append(records, r), append(at, i)
	}
	done := map[*kgo.Record]error{}
	for _, r := range p.client.ProduceSync(ctx, records...) {
		done[r.Record] = r.Err
	}
	for n, r := range records {
		i := at[n]
		if results[i] = done[r]; results[i] == nil {
			list[i].Attributes["kafka.topic"] = r.Topic
			list[i].Attributes["kafka.partition"] = strconv.Itoa(int(r.Partition))
			list[i].Attributes["kafka.offset"] = strconv.FormatInt(r.Offset, 10)
		}
	}
	for i, f := range list {
		if results[i] != nil {
			fail(p.set, s, f, results[i])
			continue
		}
		s.Transfer(f, success.Name)
	}
	return nil
}

func (p *kafkaPublisher) record(s *engine.Session, f *engine.FlowFile) (*kgo.Record, error) {
	topic, err := p.set.Eval("Topic Name", f)
	if err != nil {
		return nil, err
	}
	key, err := p.set.Eval("Kafka Key", f)
	if err != nil {
		return nil, err
	}
	data, err := s.Bytes(f, maxText)
	if err != nil {
		return nil, err
	}
	r := &kgo.Record{Topic: topic, Value: data}
	if key != "" {
		r.Key = []byte(key)
	}
	return r, nil
}
