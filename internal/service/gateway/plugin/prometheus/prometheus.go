package prometheus

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Node is what the node's metrics show.
type Node struct {
	Accepted, Active, Requests int64 // client connections, and the requests on them
	StoreReachable             bool
}

// TargetHealth is the state of one address of an upstream's target.
type TargetHealth struct {
	Upstream string
	Target   string
	Address  string // host:port; empty where the name does not resolve
	State    string // healthchecks_off, healthy, unhealthy or dns_error
}

// Deps is what the metrics are read from.
type Deps struct {
	NodeID string
	Node   func() Node
	Health func() []TargetHealth // nil: there is no balancer
}

// Metrics are the node's. It implements prom.Collector.
type Metrics struct {
	d Deps

	requests  *prom.CounterVec
	bandwidth *prom.CounterVec
	sessions  *prom.CounterVec // of streams
	kong      *prom.HistogramVec
	upstream  *prom.HistogramVec
	total     *prom.HistogramVec
	session   *prom.HistogramVec // of streams
	models    models

	connections, nginxRequests, timers, reachable, info, health, memory, failures *prom.Desc

	failed    atomic.Int64
	wantsPeer atomic.Int64 // instances with upstream_health_metrics
	directory atomic.Pointer[gateway.Directory]

	mu     sync.RWMutex
	series map[key]*series
}

// The buckets, in milliseconds.
var (
	kongBuckets     = []float64{1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000}
	upstreamBuckets = []float64{25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000}
)

// New returns metrics without a series.
func New(d Deps) *Metrics {
	counter := func(name, help string, labels ...string) *prom.CounterVec {
		return prom.NewCounterVec(prom.CounterOpts{Name: "kong_" + name, Help: help}, labels)
	}
	labelled := func(name, help string, buckets []float64, labels ...string) *prom.HistogramVec {
		return prom.NewHistogramVec(prom.HistogramOpts{Name: "kong_" + name, Help: help, Buckets: buckets}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prom.HistogramVec {
		return labelled(name, help, buckets, "service", "route", "workspace")
	}
	desc := func(name, help string, labels ...string) *prom.Desc {
		return prom.NewDesc("kong_"+name, help, labels, nil)
	}
	return &Metrics{
		d: d, series: map[key]*series{},
		requests: counter("http_requests_total", "HTTP status codes per consumer/service/route in Kong",
			"service", "route", "code", "source", "workspace", "consumer"),
		bandwidth: counter("bandwidth_bytes", "Total bandwidth (ingress/egress) throughput in bytes",
			"service", "route", "direction", "workspace", "consumer"),
		sessions: counter("stream_sessions_total", "Stream status codes per service/route in Kong", "service", "route", "code", "source", "workspace"),
		kong:     histogram("kong_latency_ms", "Latency added by Kong and enabled plugins for each service/route in Kong", kongBuckets),
		upstream: histogram("upstream_latency_ms", "Latency added by upstream response for each service/route in Kong", upstreamBuckets),
		total:    histogram("request_latency_ms", "Total latency incurred during requests for each service/route in Kong", upstreamBuckets),
		session:  histogram("session_latency_ms", "latency incurred in stream session for each service/route in Kong", upstreamBuckets),
		models:   newModels(counter, labelled),

		connections:   desc("nginx_connections_total", "Number of connections by subsystem", "node_id", "subsystem", "state"),
		nginxRequests: desc("nginx_requests_total", "Number of requests total", "node_id", "subsystem"),
		timers:        desc("nginx_timers", "Number of nginx timers", "state"),
		reachable:     desc("datastore_reachable", "Datastore reachable from Kong, 0 is unreachable"),
		info:          desc("node_info", "Kong Node metadata information", "node_id", "version"),
		health: desc("upstream_target_health",
			"Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.",
			"upstream", "target", "address", "state", "subsystem"),
		memory:   desc("memory_workers_lua_vms_bytes", "Allocated bytes in worker Lua VM", "node_id", "pid", "kong_subsystem"),
		failures: desc("nginx_metric_errors_total", "Number of nginx-lua-prometheus errors"),
	}
}

// Plugin returns the kind.
func (m *Metrics) Plugin() gateway.Plugin {
	flag := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Boolean, Default: false, Description: description}
	}
	return gateway.Plugin{
		Name: "prometheus", Version: gateway.Version, Priority: 13, Streams: true,
		Config: &schema.Field{Fields: []*schema.Field{
			flag("per_consumer", "Fill in the consumer label."),
			flag("status_code_metrics", "Count requests by status code."),
			flag("ai_metrics", "Count what AI plugins do."),
			flag("latency_metrics", "Measure latencies."),
			flag("bandwidth_metrics", "Count bytes."),
			flag("upstream_health_metrics", "Show the health of upstreams' targets."),
		}},
		Admin: []gateway.AdminEndpoint{{Path: "/metrics", Methods: map[string]func(gateway.AdminRequest) gateway.AdminAnswer{"GET": m.scrape}}},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			m.directory.CompareAndSwap(nil, &env.Directory)
			in := &instance{m: m, perConsumer: fields.Bool(config, "per_consumer"), health: fields.Bool(config, "upstream_health_metrics")}
			for f, name := range map[flags]string{counts: "status_code_metrics", times: "latency_metrics", bytesMoved: "bandwidth_metrics", modelUse: "ai_metrics"} {
				if fields.Bool(config, name) {
					in.flags |= f
				}
			}
			if in.health {
				m.wantsPeer.Add(1)
			}
			if in.flags == 0 {
				return in.idle(), nil
			}
			return in, nil
		},
	}
}

// scrape answers the Admin API's GET /metrics: Kong's metrics alone.
func (m *Metrics) scrape(gateway.AdminRequest) gateway.AdminAnswer {
	registry := prom.NewRegistry()
	if err := registry.Register(m); err != nil {
		return gateway.AdminAnswer{Status: 500, Body: schema.Record{"message": "An unexpected error occurred"}}
	}
	families, err := registry.Gather()
	var out bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	encoder := expfmt.NewEncoder(&out, format)
	for _, f := range families {
		if err == nil {
			err = encoder.Encode(f)
		}
	}
	if err != nil {
		return gateway.AdminAnswer{Status: 500, Body: schema.Record{"message": "An unexpected error occurred"}}
	}
	return gateway.AdminAnswer{Status: 200, Text: out.Bytes(), ContentType: strings.SplitN(string(format), "; escaping", 2)[0]}
}
