package zipkin

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/post"
	"sluice.dev/sluice/internal/service/gateway/plugin/tracing"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kind needs from others.
type Deps struct {
	NodeID string
}

var protectedTags = []string{"error", "http.method", "http.path", "http.status_code", "kong.balancer.state", "kong.balancer.try",
	"kong.consumer", "kong.credential", "kong.node.id", "kong.route", "kong.service", "lc", "peer.hostname"}

// New returns the kind.
func New(d Deps) gateway.Plugin {
	name := &schema.Field{Name: "name", Kind: schema.String, Required: true, Check: func(v any) string {
		if slices.Contains(protectedTags, v.(string)) {
			return "must not be one of the tags that the plugin sets"
		}
		return ""
	}}
	return gateway.Plugin{
		Name: "zipkin", Version: gateway.Version, Priority: 100000,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "local_service_name", Kind: schema.String, Required: true, Default: "kong"},
			fields.URL("http_endpoint"),
			{Name: "sample_ratio", Kind: schema.Number, Default: 0.001, Between: []float64{0, 1}},
			{Name: "default_service_name", Kind: schema.String},
			{Name: "include_credential", Kind: schema.Boolean, Required: true, Default: true},
			{Name: "traceid_byte_count", Kind: schema.Integer, Required: true, Default: 16, OneOf: []any{8.0, 16.0}},
			tracing.HeaderType("zipkin", schema.Required), tracing.DefaultHeaderType("zipkin", "b3"),
			{Name: "tags_header", Kind: schema.String, Required: true, Default: "Zipkin-Tags"},
			{Name: "static_tags", Kind: schema.Array, Check: distinctNames, Elements: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
				name, {Name: "value", Kind: schema.String, Required: true}}}},
			fields.Choice("http_span_name", []string{"method", "method_path"}, schema.Required, schema.Default("method")),
			fields.Timeout("connect_timeout", 2000), fields.Timeout("send_timeout", 5000), fields.Timeout("read_timeout", 5000),
			{Name: "http_response_header_for_traceid", Kind: schema.String, Check: fields.HeaderName().Check},
			fields.Choice("phase_duration_flavor", []string{"annotations", "tags"}, schema.Required, schema.Default("annotations")),
			batch.Field(1), tracing.Field("b3"),
		}},
		New: func(config schema.Record, env gateway.Env) (any, error) { return newInstance(config, env, d) },
	}
}

func distinctNames(v any) string {
	seen := map[any]bool{}
	for _, e := range v.([]any) {
		r, _ := e.(schema.Record)
		if seen[r["name"]] {
			return "repeated tags are not allowed: " + fields.String(r, "name")
		}
		seen[r["name"]] = true
	}
	return ""
}

type instance struct {
	d           Deps
	propagation tracing.Propagation
	ratio       float64
	idSize      int
	local       string
	fallback    string // name of a service that has none
	credential  bool
	tagsHeader  string
	static      []tag
	withPath    bool
	answer      string // header that tells the client of the trace
	asTags      bool
	queue       *batch.Queue[[]byte] // nil: nothing is reported
	server      *post.Endpoint
}

type tag struct{ name, value string }

func newInstance(config schema.Record, env gateway.Env, d Deps) (any, error) {
	in := &instance{
		d: d, propagation: tracing.Of(config), idSize: fields.Int(config, "traceid_byte_count"),
		local: fields.String(config, "local_service_name"), fallback: fields.String(config, "default_service_name"),
		credential: fields.Bool(config, "include_credential"), tagsHeader: fields.String(config, "tags_header"),
		withPath: fields.String(config, "http_span_name") == "method_path", answer: fields.String(config, "http_response_header_for_traceid"),
		asTags: fields.String(config, "phase_duration_flavor") == "tags",
	}
	in.ratio, _ = config["sample_ratio"].(float64)
	static, _ := config["static_tags"].([]any)
	for _, e := range static {
		r, _ := e.(schema.Record)
		in.static = append(in.static, tag{fields.String(r, "name"), fields.String(r, "value")})
	}
	endpoint := fields.String(config, "http_endpoint")
	if endpoint == "" {
		return in, nil
	}
	var err error
	if in.server, err = post.New(post.Config{URL: endpoint, ContentType: "application/json", Connect: fields.Duration(config, "connect_timeout"),
		Timeout: fields.Duration(config, "connect_timeout") + fields.Duration(config, "send_timeout") + fields.Duration(config, "read_timeout")}); err != nil {
		return nil, err
	}
	in.queue = batch.New(batch.Of(config), batch.Deps[[]byte]{Clock: env.Clock, Log: env.Log, Size: func(b []byte) int { return len(b) },
		Send: func(ctx context.Context, spans [][]byte) error {
			return in.server.Send(ctx, append(append([]byte{'['}, bytes.Join(spans, []byte{','})...), ']'))
		}})
	return in, nil
}

func (in *instance) begin(x *gateway.Exchange) (*tracing.Trace, string) {
	t, found := in.propagation.Begin(x, in.idSize, func(client tracing.Sampling, _ []byte) bool {
		switch client {
		case tracing.Record:
			return true
		case tracing.Ignore:
			return false
		}
		return rand.Float64() < in.ratio
	})
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
	if in.queue == nil {
		return nil
	}
	defer in.server.Close()
	return in.queue.Close(ctx)
}
