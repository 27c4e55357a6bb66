package prometheus

import (
	"os"
	"runtime"
	"strconv"

	prom "github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/internal/service/gateway"
)

// Describe implements prom.Collector.
func (m *Metrics) Describe(out chan<- *prom.Desc) {
	for _, v := range m.vectors() {
		v.Describe(out)
	}
	for _, d := range []*prom.Desc{m.connections, m.nginxRequests, m.timers, m.reachable, m.info, m.health, m.memory, m.failures} {
		out <- d
	}
}

func (m *Metrics) vectors() []prom.Collector {
	return append([]prom.Collector{m.requests, m.bandwidth, m.sessions, m.kong, m.upstream, m.total, m.session}, m.models.vectors()...)
}

// Collect implements prom.Collector.
func (m *Metrics) Collect(out chan<- prom.Metric) {
	m.prune()
	for _, v := range m.vectors() {
		v.Collect(out)
	}
	gauge := func(d *prom.Desc, v float64, labels ...string) {
		out <- prom.MustNewConstMetric(d, prom.GaugeValue, v, labels...)
	}
	var n Node
	if m.d.Node != nil {
		n = m.d.Node()
	}
	const http = "http"
	for state, v := range map[string]int64{
		"accepted": n.Accepted, "handled": n.Accepted, "total": n.Requests, "active": n.Active, "reading": 0, "writing": n.Active, "waiting": 0,
	} {
		gauge(m.connections, float64(v), m.d.NodeID, http, state)
	}
	gauge(m.nginxRequests, float64(n.Requests), m.d.NodeID, http)
	gauge(m.timers, 0, "running")
	gauge(m.timers, 0, "pending")
	reachable := 0.0
	if n.StoreReachable {
		reachable = 1
	}
	gauge(m.reachable, reachable)
	gauge(m.info, 1, m.d.NodeID, gateway.Version)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	gauge(m.memory, float64(mem.HeapInuse), m.d.NodeID, strconv.Itoa(os.Getpid()), http)
	out <- prom.MustNewConstMetric(m.failures, prom.CounterValue, float64(m.failed.Load()))
	if m.d.Health == nil || m.wantsPeer.Load() == 0 {
		return
	}
	for _, t := range m.d.Health() {
		for _, state := range []string{"healthchecks_off", "healthy", "unhealthy", "dns_error"} {
			v := 0.0
			if state == t.State {
				v = 1
			}
			gauge(m.health, v, t.Upstream, t.Target, t.Address, state, http)
		}
	}
}

// prune removes the series of what is no longer configured, or no longer under the name
// that its labels have.
func (m *Metrics) prune() {
	directory := m.directory.Load()
	if directory == nil {
		return
	}
	d := *directory
	named := func(collection, id, label, or string) bool {
		if id == "" {
			return true
		}
		r, ok := d.ByID(collection, id)
		if !ok {
			return false
		}
		if name, _ := r["name"].(string); name != "" {
			return name == label
		}
		if or == "id" {
			return id == label
		}
		return r[or] == label
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, s := range m.series {
		if !named("routes", s.routeID, k.route, "id") || !named("services", s.serviceID, k.service, "host") {
			delete(m.series, k)
			labels := prom.Labels{"service": k.service, "route": k.route}
			m.requests.DeletePartialMatch(labels)
			m.bandwidth.DeletePartialMatch(labels)
			m.sessions.DeletePartialMatch(labels)
			m.session.DeletePartialMatch(labels)
			m.kong.DeletePartialMatch(labels)
			m.upstream.DeletePartialMatch(labels)
			m.total.DeletePartialMatch(labels)
			continue
		}
		if k.consumer == "" {
			continue
		}
		if _, there := d.Consumer(k.consumer); !there {
			delete(m.series, k)
			labels := prom.Labels{"consumer": k.consumer}
			m.requests.DeletePartialMatch(labels)
			m.bandwidth.DeletePartialMatch(labels)
		}
	}
}
