package socketlog

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/plugin/sink"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kinds need from others.
type Deps struct {
	CompileLua record.Compile // nil: custom fields are refused
}

// NewTCP returns the kind tcp-log.
func NewTCP(d Deps) gateway.Plugin {
	return gateway.Plugin{
		Name: "tcp-log", Version: gateway.Version, Priority: 7, Streams: true,
		Config: &schema.Field{Fields: []*schema.Field{
			fields.Host("host", schema.Required), fields.Port("port", schema.Required),
			fields.Millis("timeout", 10000), fields.Millis("keepalive", 60000),
			{Name: "tls", Kind: schema.Boolean, Required: true, Default: false},
			{Name: "tls_sni", Kind: schema.String},
			record.CustomFields(d.CompileLua),
		}},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			c := sinkOf("tcp", config)
			if fields.Bool(config, "tls") {
				// As in Kong the server's certificate is not verified.
				c.TLS = &tls.Config{ServerName: fields.String(config, "tls_sni"), InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
			}
			return newInstance(config, env, d, c, batch.Config{MaxBatchSize: 100, MaxRetryTime: 10 * time.Second, InitialRetryDelay: 100 * time.Millisecond})
		},
	}
}

// NewUDP returns the kind udp-log.
func NewUDP(d Deps) gateway.Plugin {
	return gateway.Plugin{
		Name: "udp-log", Version: gateway.Version, Priority: 8, Streams: true,
		Config: &schema.Field{Fields: []*schema.Field{
			fields.Host("host", schema.Required), fields.Port("port", schema.Required),
			fields.Millis("timeout", 10000), record.CustomFields(d.CompileLua),
		}},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			return newInstance(config, env, d, sinkOf("udp", config), batch.Config{})
		},
	}
}

func sinkOf(network string, config schema.Record) sink.Config {
	return sink.Config{Network: network, Address: net.JoinHostPort(fields.String(config, "host"), strconv.Itoa(fields.Int(config, "port"))),
		Timeout: fields.Duration(config, "timeout"), Keepalive: fields.Duration(config, "keepalive")}
}

type instance struct {
	records *record.Serializer
	queue   *batch.Queue[[]byte]
	sink    *sink.Sink
}

func newInstance(config schema.Record, env gateway.Env, d Deps, to sink.Config, c batch.Config) (any, error) {
	records, err := record.NewSerializer(config, d.CompileLua, env.Log)
	if err != nil {
		return nil, err
	}
	s := sink.New(to, env.Clock)
	send := func(ctx context.Context, entries [][]byte) error {
		if to.Network == "udp" {
			return s.Write(ctx, entries[0])
		}
		return s.Write(ctx, append(bytes.Join(entries, []byte{'\n'}), '\n'))
	}
	return &instance{records, batch.New(c, batch.Deps[[]byte]{Clock: env.Clock, Log: env.Log, Send: send}), s}, nil
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) { in.queue.Add(in.records.Clone(x)) }

// Close implements gateway.Closer.
func (in *instance) Close(ctx context.Context) error {
	defer in.sink.Close()
	return in.queue.Close(ctx)
}
