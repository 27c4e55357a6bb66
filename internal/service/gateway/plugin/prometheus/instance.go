package prometheus

import (
	"context"
	"strconv"

	prom "github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/modeluse"
)

// maxSeries bounds the combinations of labels that are kept.
const maxSeries = 100_000

// flags are the metrics that an instance counts.
type flags uint8

const (
	counts flags = 1 << iota
	times
	bytesMoved
	modelUse
)

// key is what distinguishes the series a request counts in.
type key struct {
	service, route, consumer string // as the labels have them
	code                     int
	upstream, stream         bool
	flags                    flags
}

// series is where requests of one key are counted. What its flags leave out is nil.
type series struct {
	routeID, serviceID    string
	requests, in, out     prom.Counter
	kong, upstream, total prom.Observer
}

// instance is one configuration of the plugin.
type instance struct {
	m           *Metrics
	flags       flags
	perConsumer bool
	health      bool
}

// idle is an instance that counts nothing of the traffic: it has no log phase.
type idle struct{ in *instance }

func (in *instance) idle() idle { return idle{in} }

// Close implements gateway.Closer.
func (i idle) Close(ctx context.Context) error { return i.in.Close(ctx) }

// Close implements gateway.Closer. The counts stay.
func (in *instance) Close(context.Context) error {
	if in.health {
		in.m.wantsPeer.Add(-1)
	}
	return nil
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) {
	if in.flags&modelUse != 0 && !in.m.models.count(modeluse.Of(x)) {
		in.m.failed.Add(1)
	}
	k := key{code: x.Response.Status, upstream: x.FromUpstream(), stream: x.IsStream(), flags: in.flags &^ modelUse}
	route := x.Route()
	if route != nil {
		if k.route = route.Name; k.route == "" {
			k.route = route.ID
		}
		if s := route.Service; s != nil {
			if k.service = s.Name; k.service == "" {
				k.service = s.Host
			}
		}
	}
	if in.perConsumer {
		if c := x.Consumer(); c != nil {
			k.consumer = c.Username
		}
	}
	in.m.mu.RLock()
	s := in.m.series[k]
	in.m.mu.RUnlock()
	if s == nil {
		if s = in.m.resolve(k, route); s == nil {
			in.m.failed.Add(1)
			return
		}
	}
	if s.requests != nil {
		s.requests.Inc()
	}
	if s.in != nil {
		s.in.Add(float64(x.RequestSize()))
		s.out.Add(float64(x.ResponseSize()))
	}
	if s.total != nil {
		l := x.Latencies()
		s.total.Observe(float64(l.Request))
		s.kong.Observe(float64(l.Kong))
		if l.Proxy >= 0 {
			s.upstream.Observe(float64(l.Proxy))
		}
	}
}

// resolve makes the series of a key; nil where there are too many.
func (m *Metrics) resolve(k key, route *gateway.Route) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.series[k]; s != nil {
		return s
	}
	if len(m.series) >= maxSeries {
		return nil
	}
	s := new(series)
	if route != nil {
		s.routeID = route.ID
		if route.Service != nil {
			s.serviceID = route.Service.ID
		}
	}
	if k.flags&counts != 0 {
		source := "kong"
		if k.upstream {
			source = "service"
		}
		if k.stream {
			s.requests = m.sessions.WithLabelValues(k.service, k.route, strconv.Itoa(k.code), source, gateway.Workspace)
		} else {
			s.requests = m.requests.WithLabelValues(k.service, k.route, strconv.Itoa(k.code), source, gateway.Workspace, k.consumer)
		}
	}
	if k.flags&bytesMoved != 0 {
		s.in = m.bandwidth.WithLabelValues(k.service, k.route, "ingress", gateway.Workspace, k.consumer)
		s.out = m.bandwidth.WithLabelValues(k.service, k.route, "egress", gateway.Workspace, k.consumer)
	}
	if k.flags&times != 0 {
		s.kong = m.kong.WithLabelValues(k.service, k.route, gateway.Workspace)
		total := m.session
		if !k.stream {
			total = m.total
			s.upstream = m.upstream.WithLabelValues(k.service, k.route, gateway.Workspace)
		}
		s.total = total.WithLabelValues(k.service, k.route, gateway.Workspace)
	}
	m.series[k] = s
	return s
}
