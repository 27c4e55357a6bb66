package node

import (
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/obs"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
)

// metrics are what the node counts of its traffic.
type metrics struct {
	access    *slog.Logger
	registry  *prometheus.Registry
	calls     *prometheus.CounterVec
	callTime  *prometheus.HistogramVec
	exchanges *prometheus.CounterVec
	byStatus  [600]atomic.Pointer[prometheus.Counter] // of exchanges: the hot path looks up nothing
	events    *prometheus.CounterVec
}

// newMetrics returns the metrics; access, if not nil, is told of every request too.
func newMetrics(access *slog.Logger) *metrics {
	m := &metrics{
		access:   access,
		registry: obs.Registry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_aws_calls_total",
			Help: "Calls of AWS APIs by service, operation and error code."}, []string{"service", "operation", "code"}),
		callTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_aws_call_seconds",
			Help: "Time to answer calls of AWS APIs.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"service"}),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_gateway_requests_total",
			Help: "Requests through the gateway by status."}, []string{"status"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_collector_events_total",
			Help: "Events that the collector made durable, by stream."}, []string{"stream"}),
	}
	m.registry.MustRegister(m.calls, m.callTime, m.exchanges, m.events)
	return m
}

func (m *metrics) called(c awswire.Call) {
	service, operation := c.Service, c.Operation
	if service == "" || operation == "" {
		service, operation = "unknown", "unknown" // what clients make up is no label
	}
	m.calls.WithLabelValues(service, operation, c.Code).Inc()
	m.callTime.WithLabelValues(service).Observe(c.Duration.Seconds())
	if m.access != nil {
		m.access.Info("call", "request_id", c.RequestID, "service", c.Service, "operation", c.Operation, "status", c.Status, "code", c.Code,
			"identity", c.Identity.ARN, "region", c.Region, "source_ip", c.SourceIP, "duration", c.Duration, "in", c.In, "out", c.Out)
	}
}

func (m *metrics) exchange(x *gateway.Exchange) {
	m.counter(x.Response.Status).Inc()
	if m.access != nil {
		// Strings of an exchange end with it; the handler encodes them before it returns.
		attrs := []any{"request_id", x.ID(), "method", x.Request.Method, "path", x.Request.Path, "status", x.Response.Status, "client_ip", x.ClientIP()}
		if r := x.Route(); r != nil {
			attrs = append(attrs, "route", r.Name)
		}
		if c := x.Consumer(); c != nil {
			attrs = append(attrs, "consumer", c.Username)
		}
		m.access.Info("request", attrs...)
	}
}

func (m *metrics) counter(status int) prometheus.Counter {
	if status < 0 || status >= len(m.byStatus) {
		status = 0
	}
	if c := m.byStatus[status].Load(); c != nil {
		return *c
	}
	c := m.exchanges.WithLabelValues(strconv.Itoa(status))
	m.byStatus[status].Store(&c)
	return c
}

func (m *metrics) collected(o collector.Outcome) {
	if o.Accepted > 0 {
		m.events.WithLabelValues(o.Stream).Add(float64(o.Accepted))
	}
}

// watch adds what is read when it is asked for.
func (m *metrics) watch(c *Config, s *services, control *store.Store) {
	m.registry.MustRegister(s.observers.metrics)
	gauge := func(name, help string, read func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("sluice_disk_free_bytes", "Bytes that are free on the file system of the data directory.", func() float64 {
		free, err := segment.Free(c.Data)
		if err != nil {
			return math.NaN()
		}
		return float64(free)
	})
	gauge("sluice_disk_reserve_bytes", "Bytes that must stay free on the file system of the data directory: below them writes are refused.", func() float64 { return float64(c.Disk.Reserve << 20) })
	if s.local != nil {
		gauge("sluice_delivery_waiting_records", "Records of delivery streams that are in no object yet.", func() float64 {
			n := int64(0)
			for _, d := range s.local.delivery.Deliveries() {
				for _, l := range d.Lanes {
					n += l.Waiting
				}
			}
			return float64(n)
		})
		gauge("sluice_delivery_failing_lanes", "Lanes of delivery streams whose last attempt failed.", func() float64 {
			n := 0
			for _, d := range s.local.delivery.Deliveries() {
				for _, l := range d.Lanes {
					if l.LastError != "" {
						n++
					}
				}
			}
			return float64(n)
		})
	}
	for name, help := range map[string]string{
		"heartbeats": "Heartbeats of edge agents.", "acknowledgements": "Operations that edge agents have acknowledged.", "operations": "Operations that edge agents were sent.",
		"refused": "Reports of edge agents that were refused.",
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sluice_edge_" + name + "_total", Help: help}, func() float64 { return float64(s.edge.Counts()[name]) }))
	}
	gauge("sluice_edge_agents", "Edge agents that this node remembers.", func() float64 { return float64(s.edge.Counts()["agents"]) })
	if c.Edge.Metrics {
		m.registry.MustRegister(&agentsByClass{edge: s.edge, most: c.Edge.MetricClasses})
	}
	gauge("sluice_edge_waiting_rows", "What edge agents reported and is not written yet.", func() float64 { return float64(s.edge.Counts()["waiting"]) })
	gauge("sluice_cluster_peers", "Nodes that this node is connected to.", func() float64 { return float64(len(s.cluster.peers())) })
	gauge("sluice_cluster_leases", "Leases that this node holds.", func() float64 {
		n := 0
		for _, h := range s.cluster.keeper.Holdings() {
			if h.Node == s.cluster.service.Self() {
				n++
			}
		}
		return float64(n)
	})
	gauge("sluice_store_revision", "The newest revision of the control store that this node knows.", func() float64 { return float64(control.Snapshot().Revision()) })
	gauge("sluice_store_silence_seconds", "How long ago the control store's database last answered.", func() float64 { return control.Silence().Seconds() })
	gauge("sluice_references_cached", "Reference documents in the cache.", func() float64 { return float64(s.references.Stats().Size) })
	gauge("sluice_references_hits", "Look-ups that the cache answered.", func() float64 { return float64(s.references.Stats().Hits) })
	gauge("sluice_references_misses", "Look-ups that the cache did not answer.", func() float64 { return float64(s.references.Stats().Misses) })
}

// agentsByClass tells how many agents of each class a node hears.
type agentsByClass struct {
	edge *edge.Service
	most int
}

var agentsDesc = prometheus.NewDesc("sluice_edge_class_agents", "Edge agents that this node hears, by class; what is beyond the bound on classes is in the class \"other\".", []string{"agentClass"}, nil)

// Describe names the metric.
func (a *agentsByClass) Describe(to chan<- *prometheus.Desc) { to <- agentsDesc }

// Collect counts the agents.
func (a *agentsByClass) Collect(to chan<- prometheus.Metric) {
	classes := a.edge.Remembered()
	other := 0
	for i, class := range slices.Sorted(maps.Keys(classes)) {
		if i >= a.most {
			other += classes[class]
			continue
		}
		to <- prometheus.MustNewConstMetric(agentsDesc, prometheus.GaugeValue, float64(classes[class]), class)
	}
	if other > 0 {
		to <- prometheus.MustNewConstMetric(agentsDesc, prometheus.GaugeValue, float64(other), "other")
	}
}
