package statsd

import (
	"regexp"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var (
	consumerIdentifiers  = []string{"consumer_id", "custom_id", "username"}
	serviceIdentifiers   = []string{"service_id", "service_name", "service_host", "service_name_or_host"}
	workspaceIdentifiers = []string{"workspace_id", "workspace_name"}
	kinds                = []string{"counter", "gauge", "histogram", "meter", "set", "timer"}
	rangeForm            = regexp.MustCompile(`^[0-9]+-[0-9]+$`)
	tagForm              = regexp.MustCompile(`^.*[^:]$`)
)

// New returns the kind statsd.
func New() gateway.Plugin {
	names := []string{"kong_latency", "latency", "request_count", "request_per_user", "request_size", "response_size", "status_count",
		"status_count_per_user", "unique_users", "upstream_latency", "status_count_per_workspace", "status_count_per_user_per_route", "shdict_usage"}
	metrics := metricsField(names, kinds,
		&schema.Field{Name: "sample_rate", Kind: schema.Number, Gt: schema.Ptr(0.0)},
		fields.Choice("consumer_identifier", consumerIdentifiers), fields.Choice("service_identifier", serviceIdentifiers),
		fields.Choice("workspace_identifier", workspaceIdentifiers))
	metrics.Default = []any{
		defaultMetric("request_count", "counter", 1), defaultMetric("latency", "timer", 0), defaultMetric("request_size", "counter", 1),
		defaultMetric("status_count", "counter", 1), defaultMetric("response_size", "counter", 1), defaultMetric("unique_users", "set", 0),
		defaultMetric("request_per_user", "counter", 1), defaultMetric("upstream_latency", "timer", 0), defaultMetric("kong_latency", "timer", 0),
		defaultMetric("status_count_per_user", "counter", 1), defaultMetric("status_count_per_workspace", "counter", 1),
		defaultMetric("status_count_per_user_per_route", "counter", 1), defaultMetric("shdict_usage", "gauge", 1),
	}
	identifier := func(name, def string, of []string) *schema.Field {
		return fields.Choice(name, of, schema.Required, schema.Default(def))
	}
	config := []*schema.Field{
		fields.Host("host", schema.Default("localhost")), fields.Port("port", schema.Default(8125)),
		{Name: "prefix", Kind: schema.String, Default: "kong"}, metrics,
		{Name: "allow_status_codes", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: matches(rangeForm)}},
		{Name: "udp_packet_size", Kind: schema.Number, Default: 0, Between: []float64{0, 65507}},
		{Name: "use_tcp", Kind: schema.Boolean, Default: false},
		{Name: "hostname_in_prefix", Kind: schema.Boolean, Default: false},
		identifier("consumer_identifier_default", "custom_id", consumerIdentifiers),
		identifier("service_identifier_default", "service_name_or_host", serviceIdentifiers),
		identifier("workspace_identifier_default", "workspace_id", workspaceIdentifiers),
		fields.Choice("tag_style", []string{dogstatsd, influxdb, librato, signalfx}),
		batch.Field(1),
	}
	return gateway.Plugin{Name: "statsd", Version: gateway.Version, Priority: 11, Streams: true,
		Config: &schema.Field{Fields: append(config, batch.Legacy("statsd")...)}, New: newInstance}
}

// NewDatadog returns the kind datadog.
func NewDatadog() gateway.Plugin {
	names := []string{"kong_latency", "latency", "request_count", "request_size", "response_size", "upstream_latency"}
	metrics := metricsField(names, append([]string{"distribution"}, kinds...),
		&schema.Field{Name: "tags", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: matches(tagForm)}},
		&schema.Field{Name: "sample_rate", Kind: schema.Number, Between: []float64{0, 1}},
		fields.Choice("consumer_identifier", consumerIdentifiers))
	metrics.Required = true
	def := func(name, kind string, rate int) schema.Record {
		m := defaultMetric(name, kind, rate)
		m["tags"], m["consumer_identifier"] = []any{"app:kong"}, "custom_id"
		return m
	}
	metrics.Default = []any{def("request_count", "counter", 1), def("latency", "timer", 0), def("request_size", "timer", 0),
		def("response_size", "timer", 0), def("upstream_latency", "timer", 0), def("kong_latency", "timer", 0)}
	config := []*schema.Field{
		fields.Host("host", schema.Default("localhost"), func(f *schema.Field) { f.Referenceable = true }),
		fields.Port("port", schema.Default(8125)),
		{Name: "prefix", Kind: schema.String, Default: "kong"},
		{Name: "service_name_tag", Kind: schema.String, Default: "name"},
		{Name: "status_tag", Kind: schema.String, Default: "status"},
		{Name: "consumer_tag", Kind: schema.String, Default: "consumer"},
		metrics, batch.Field(1),
	}
	return gateway.Plugin{Name: "datadog", Version: gateway.Version, Priority: 10, Streams: true,
		Config: &schema.Field{Fields: append(config, batch.Legacy("datadog")...)}, New: newDatadog}
}

func metricsField(names, kinds []string, more ...*schema.Field) *schema.Field {
	return &schema.Field{Name: "metrics", Kind: schema.Array, Elements: &schema.Field{Kind: schema.Nested,
		Fields: append([]*schema.Field{fields.Choice("name", names, schema.Required), fields.Choice("stat_type", kinds, schema.Required)}, more...),
		Checks: []schema.Check{{If: &schema.Conditional{Field: "stat_type", Is: fields.Any("counter", "gauge"), Then: "sample_rate",
			Match: schema.Match{Required: true}}}},
	}}
}

func defaultMetric(name, kind string, rate int) schema.Record {
	m := schema.Record{"name": name, "stat_type": kind}
	if rate != 0 {
		m["sample_rate"] = rate
	}
	return m
}

func matches(form *regexp.Regexp) func(any) string {
	return func(v any) string {
		if !form.MatchString(v.(string)) {
			return "invalid value: " + v.(string)
		}
		return ""
	}
}
