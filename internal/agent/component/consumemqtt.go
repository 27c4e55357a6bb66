package component

import (
	"context"
	"strconv"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"sluice.dev/sluice/internal/agent/engine"
)

func consumeMQTT() engine.Definition {
	return engine.Definition{
		Type: "org.apache.nifi.processors.mqtt.ConsumeMQTT", Input: engine.InputForbidden,
		Description: "Takes messages of an MQTT 3.1.1 broker; each is a flow file, acknowledged once it is on the disk",
		Properties: mqttProperties(
			engine.Property{Name: "Topic Filter", Required: true},
			engine.Property{Name: "Quality of Service", DisplayName: "Quality of Service(QoS)", Default: "1", Required: true, Allowed: qualities},
			engine.Property{Name: "Max Queue Size", Description: "Messages in memory before the broker is held back", Default: "1000", Required: true, Check: engine.Integer(1, 100000)},
		),
		Relationships: []engine.Relationship{relationship("Message", "What came")},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &mqttConsumer{set: s}, nil },
	}
}

type mqttConsumer struct {
	set    *engine.Settings
	client mqtt.Client
	queue  chan mqtt.Message
	stop   chan struct{}
}

// Start implements engine.Starter.
func (c *mqttConsumer) Start(_ context.Context, h *engine.Host) error {
	c.queue, c.stop = make(chan mqtt.Message, c.set.Int("Max Queue Size")), make(chan struct{})
	take := func(_ mqtt.Client, m mqtt.Message) {
		select {
		case c.queue <- m:
			h.Wake()
		case <-c.stop: // it is not acknowledged, so it comes again
		}
	}
	c.client = mqttClient(c.set, func(client mqtt.Client) {
		t := client.Subscribe(c.set.Text("Topic Filter"), byte(c.set.Int("Quality of Service")), take)
		go func() { logged(c.set.Log, "the broker refuses the subscription", settle(t, time.Minute)) }()
	})
	return nil
}

// Stop implements engine.Stopper.
func (c *mqttConsumer) Stop() {
	close(c.stop)
	c.client.Disconnect(250)
}

// maxBatch messages are one commit, which a disk's sync makes dear.
const maxBatch = 200

func (c *mqttConsumer) Trigger(_ context.Context, s *engine.Session) error {
	var taken []mqtt.Message
	for len(taken) < maxBatch {
		select {
		case m := <-c.queue:
			taken = append(taken, m)
			f := s.Create()
			f.Attributes["mqtt.topic"] = m.Topic()
			f.Attributes["mqtt.qos"] = strconv.Itoa(int(m.Qos()))
			f.Attributes["mqtt.isDuplicate"] = strconv.FormatBool(m.Duplicate())
			f.Attributes["mqtt.isRetained"] = strconv.FormatBool(m.Retained())
			if err := s.WriteBytes(f, m.Payload()); err != nil {
				return err
			}
			s.Transfer(f, "Message")
			continue
		default:
		}
		break
	}
	if len(taken) == 0 {
		s.Yield()
		return nil
	}
	if err := s.Commit(); err != nil { // what was taken comes again with the next connection
		return err
	}
	for _, m := range taken {
		m.Ack()
	}
	return nil
}
