package component

import (
	"context"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"sluice.dev/sluice/internal/agent/engine"
)

func publishMQTT() engine.Definition {
	return engine.Definition{
		Type: "org.apache.nifi.processors.mqtt.PublishMQTT", Input: engine.InputRequired,
		Description: "Sends flow files as messages to an MQTT 3.1.1 broker; they wait while it is away",
		Properties: mqttProperties(
			engine.Property{Name: "Topic", Required: true, Expression: true},
			engine.Property{Name: "Quality of Service", DisplayName: "Quality of Service(QoS)", Default: "1", Required: true, Allowed: qualities},
			engine.Property{Name: "Retain Message", Default: "false", Required: true, Allowed: engine.Booleans()},
		),
		Relationships: []engine.Relationship{success, failure},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &mqttPublisher{set: s}, nil },
	}
}

type mqttPublisher struct {
	set    *engine.Settings
	client mqtt.Client
}

// Start implements engine.Starter.
func (p *mqttPublisher) Start(context.Context, *engine.Host) error {
	p.client = mqttClient(p.set, nil)
	return nil
}

// Stop implements engine.Stopper.
func (p *mqttPublisher) Stop() { p.client.Disconnect(250) }

func (p *mqttPublisher) Trigger(_ context.Context, s *engine.Session) error {
	if !p.client.IsConnectionOpen() {
		s.Yield()
		return nil
	}
	list, err := s.GetBatch(100, 16<<20)
	if err != nil {
		return err
	}
	tokens := make([]mqtt.Token, len(list))
	for i, f := range list {
		topic, err := p.set.Eval("Topic", f)
		var data []byte
		if err == nil {
			data, err = s.Bytes(f, maxText)
		}
		if err != nil {
			fail(p.set, s, f, err)
			continue
		}
		tokens[i] = p.client.Publish(topic, byte(p.set.Int("Quality of Service")), p.set.Bool("Retain Message"), data)
	}
	deadline := time.Now().Add(time.Duration(p.set.Int("Connection Timeout")) * time.Second)
	for i, f := range list {
		if tokens[i] == nil {
			continue
		}
		if err := settle(tokens[i], time.Until(deadline)); err != nil {
			fail(p.set, s, f, err)
			continue
		}
		s.Transfer(f, success.Name)
	}
	return nil
}
