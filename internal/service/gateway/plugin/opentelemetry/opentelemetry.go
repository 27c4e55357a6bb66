package opentelemetry

import (
	"context"
	"errors"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/post"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/plugin/tracing"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kind needs from others.
type Deps struct {
	NodeID string
}

// New returns the kind.
func New(d Deps) gateway.Plugin {
	return gateway.Plugin{
		Name: "opentelemetry", Version: gateway.Version, Priority: 14,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			fields.URL("traces_endpoint"), fields.URL("logs_endpoint"),
			{Name: "headers", Kind: schema.Map, Keys: fields.HeaderName(), Values: &schema.Field{Kind: schema.String, Referenceable: true}},
			{Name: "resource_attributes", Kind: schema.Map, Keys: &schema.Field{Kind: schema.String, Required: true},
				Values: &schema.Field{Kind: schema.String, Required: true}},
			batch.Field(200),
			{Name: "batch_span_count", Kind: schema.Integer, Deprecated: "opentelemetry: config.batch_span_count is deprecated, please use config.queue.max_batch_size instead"},
			{Name: "batch_flush_delay", Kind: schema.Integer, Deprecated: "opentelemetry: config.batch_flush_delay is deprecated, please use config.queue.max_coalescing_delay instead"},
			fields.Timeout("connect_timeout", 1000), fields.Timeout("send_timeout", 5000), fields.Timeout("read_timeout", 5000),
			{Name: "http_response_header_for_traceid", Kind: schema.String, Check: fields.HeaderName().Check},
			tracing.HeaderType("opentelemetry"),
			{Name: "sampling_rate", Kind: schema.Number, Between: []float64{0, 1}},
			tracing.Field("w3c"),
		}, Checks: []schema.Check{{AtLeastOneOf: []string{"traces_endpoint", "logs_endpoint"}}}, Shorthands: []schema.Shorthand{
			{Name: "endpoint", Kind: schema.String, Referenceable: true, Path: "traces_endpoint",
				Deprecated: "OpenTelemetry: config.endpoint is deprecated, please use config.traces_endpoint instead"}}},
		New: func(config schema.Record, env gateway.Env) (any, error) { return newInstance(config, env, d) },
	}
}

// exporter is a queue in front of an OTLP endpoint.
type exporter[T proto.Message] struct {
	queue  *batch.Queue[T]
	server *post.Endpoint
}

// newExporter returns an exporter that wraps a batch into one message; nil without a URL.
func newExporter[T proto.Message](url string, config schema.Record, env gateway.Env, wrap func([]T) proto.Message) (*exporter[T], error) {
	if url == "" {
		return nil, nil
	}
	server, err := post.New(post.Config{URL: url, ContentType: "application/x-protobuf", Header: fields.Pairs(config, "headers"),
		Connect: fields.Duration(config, "connect_timeout"), Unverified: true,
		Timeout: fields.Duration(config, "connect_timeout") + fields.Duration(config, "send_timeout") + fields.Duration(config, "read_timeout")})
	if err != nil {
		return nil, err
	}
	e := &exporter[T]{server: server}
	e.queue = batch.New(batch.Of(config), batch.Deps[T]{Clock: env.Clock, Log: env.Log, Size: func(m T) int { return proto.Size(m) },
		Send: func(ctx context.Context, b []T) error {
			body, err := proto.Marshal(wrap(b))
			if err != nil {
				return err
			}
			return server.Send(ctx, body)
		}})
	return e, nil
}

func (e *exporter[T]) close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	defer e.server.Close()
	return e.queue.Close(ctx)
}

type instance struct {
	propagation tracing.Propagation
	rate        float64
	rated       bool // rate is configured
	answer      string
	records     *record.Serializer
	traces      *exporter[*tracepb.Span]
	logs        *exporter[*logspb.LogRecord]
}

// defaultRate is Kong's tracing_sampling_rate.
const defaultRate = 0.01

func newInstance(config schema.Record, env gateway.Env, d Deps) (any, error) {
	in := &instance{propagation: tracing.Of(config), answer: fields.String(config, "http_response_header_for_traceid"), rate: defaultRate}
	if r, ok := config["sampling_rate"].(float64); ok {
		in.rate, in.rated = r, true
	}
	attributes := map[string]string{"service.name": "kong", "service.version": gateway.Version, "service.instance.id": d.NodeID}
	for name, value := range fields.Pairs(config, "resource_attributes") {
		attributes[name] = value
	}
	resource := &resourcepb.Resource{}
	for name, value := range attributes {
		resource.Attributes = append(resource.Attributes, text(name, value))
	}
	scope := &commonpb.InstrumentationScope{Name: "kong-internal", Version: "0.1.0"}
	url := fields.String(config, "traces_endpoint")
	var err, errLogs error
	// The bare data messages are on the wire what the export requests are.
	in.traces, err = newExporter(url, config, env, func(b []*tracepb.Span) proto.Message {
		return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{Resource: resource,
			ScopeSpans: []*tracepb.ScopeSpans{{Scope: scope, Spans: b}}}}}
	})
	in.logs, errLogs = newExporter(fields.String(config, "logs_endpoint"), config, env, func(b []*logspb.LogRecord) proto.Message {
		return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{Resource: resource,
			ScopeLogs: []*logspb.ScopeLogs{{Scope: scope, LogRecords: b}}}}}
	})
	if err = errors.Join(err, errLogs); err != nil {
		return nil, err
	}
	in.records, err = record.NewSerializer(schema.Record{}, nil, env.Log)
	return in, err
}

func (in *instance) begin(x *gateway.Exchange) (*tracing.Trace, string) {
	t, found := in.propagation.Begin(x, 16, func(client tracing.Sampling, id []byte) bool {
		switch {
		case client == tracing.Ignore:
			return false
		case client == tracing.Record && !in.rated:
			return true
		}
		return tracing.Share(id, in.rate)
	})
	if len(t.ID) == 8 { // OTLP knows ids of 16 bytes alone
		t.ID = append(make([]byte, 8), t.ID...)
	}
	x.Put(in, t)
	return t, found
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	t, found := in.begin(x)
	in.propagation.Pass(x, t, found)
}

// Close implements gateway.Closer.
func (in *instance) Close(ctx context.Context) error {
	return errors.Join(in.traces.close(ctx), in.logs.close(ctx))
}
