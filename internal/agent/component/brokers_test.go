package component_test

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/edge/flow"
)

var (
	discard = slog.New(slog.DiscardHandler)
	system  = clock.System{}
)

func broker(t *testing.T) (*mqtt.Server, string) {
	t.Helper()
	s := mqtt.New(&mqtt.Options{Logger: discard, InlineClient: true})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, "tcp://" + l.Address()
}

func TestMQTT(t *testing.T) {
	s, url := broker(t)
	consume := newRig(t, "ConsumeMQTT", map[string]string{"Broker URI": url, "Topic Filter": "plant/+/temp"})
	publish := newRig(t, "PublishMQTT", map[string]string{"Broker URI": url, "Topic": "plant/${pump}/temp"})
	for end := time.Now().Add(10 * time.Second); atomic.LoadInt64(&s.Info.Subscriptions) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no subscription")
		}
	}
	publish.send("21.5", "pump", "7")
	publish.want(got{rel: "success", content: "21.5"})
	if g := consume.next(); g.content != "21.5" || g.attributes["mqtt.topic"] != "plant/7/temp" || g.attributes["mqtt.qos"] != "1" {
		t.Errorf("%+v", g)
	}
	// What is published while the consumer is away is kept by the broker, as the session resumes.
	if err := consume.e.StopProcessor("it"); err != nil {
		t.Fatal(err)
	}
	publish.send("22", "pump", "8")
	publish.want(got{rel: "success", content: "22"})
	if err := consume.e.StartProcessor(t.Context(), "it"); err != nil {
		t.Fatal(err)
	}
	// The first may come once more: quality of service 1 is at least once, and the acknowledgement may have been on its way.
	g := consume.next()
	for g.content == "21.5" {
		g = consume.next()
	}
	if g.content != "22" || g.rel != "Message" {
		t.Errorf("%+v", g)
	}
}

func TestPublishKafka(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	link := &flow.ControllerService{Head: flow.Head{ID: "kafka", Name: "kafka"}, Type: "Kafka3ConnectionService", Properties: map[string]string{"Bootstrap Servers": c.ListenAddrs()[0]}}
	r := newRig(t, "PublishKafka", map[string]string{"Kafka Connection Service": "kafka", "Topic Name": "events", "Kafka Key": "${k}", "compression.type": "lz4"}, link)
	r.send("one", "k", "a")
	r.send("two")
	r.want(got{rel: "success", content: "one"}, got{rel: "success", content: "two"})
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var records []*kgo.Record
	for len(records) < 2 {
		f := reader.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, f.Records()...)
	}
	if string(records[0].Value) != "one" || string(records[0].Key) != "a" || records[1].Key != nil {
		t.Errorf("%s, %s", records[0].Value, records[0].Key)
	}
}
