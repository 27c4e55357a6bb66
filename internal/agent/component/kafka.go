package component

import (
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"sluice.dev/sluice/internal/agent/engine"
)

const kafkaAPI = "org.apache.nifi.kafka.service.api.KafkaConnectionService"

func kafkaConnection() engine.Definition {
	return engine.Definition{
		Type: "org.apache.nifi.kafka.service.Kafka3ConnectionService", Description: "Brokers of Kafka, and how an agent shows itself there", Provides: []string{kafkaAPI},
		Properties: []engine.Property{
			{Name: "Bootstrap Servers", Description: "host:port, separated by commas", Required: true},
			{Name: "security.protocol", DisplayName: "Security Protocol", Default: "PLAINTEXT", Required: true, Allowed: []string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}},
			{Name: "sasl.mechanism", DisplayName: "SASL Mechanism", Default: "PLAIN", Allowed: []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}},
			{Name: "sasl.username", DisplayName: "SASL Username"},
			{Name: "sasl.password", DisplayName: "SASL Password", Sensitive: true},
			{Name: "SSL Context Service", Service: sslAPI},
		},
		NewService: func(s *engine.Settings) (any, error) { return newKafkaLink(s) },
	}
}

// kafkaLink is how a client reaches brokers.
type kafkaLink struct{ options []kgo.Opt }

func newKafkaLink(s *engine.Settings) (*kafkaLink, error) {
	var seeds []string
	for seed := range strings.SplitSeq(s.Text("Bootstrap Servers"), ",") {
		if seed = strings.TrimSpace(seed); seed != "" {
			seeds = append(seeds, seed)
		}
	}
	if len(seeds) == 0 {
		return nil, errors.New("property \"Bootstrap Servers\" names no broker")
	}
	out := []kgo.Opt{kgo.SeedBrokers(seeds...), kgo.ClientID("sluice-agent"), kgo.DialTimeout(10 * time.Second)}
	protocol := s.Text("security.protocol")
	if strings.HasSuffix(protocol, "SSL") {
		conf := tlsOf(s, "SSL Context Service")
		if conf == nil {
			conf = (&sslContext{}).client()
		}
		out = append(out, kgo.DialTLSConfig(conf))
	}
	if strings.HasPrefix(protocol, "SASL") {
		user, password := s.Text("sasl.username"), s.Text("sasl.password")
		switch s.Text("sasl.mechanism") {
		case "SCRAM-SHA-256":
			out = append(out, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
		case "SCRAM-SHA-512":
			out = append(out, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
		default:
			out = append(out, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
		}
	}
	return &kafkaLink{options: out}, nil
}
