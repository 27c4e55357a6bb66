package node

import (
	"log/slog"
	"slices"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/filelog"
	"sluice.dev/sluice/internal/service/gateway/plugin/function"
	"sluice.dev/sluice/internal/service/gateway/plugin/httplog"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/plugin/opentelemetry"
	"sluice.dev/sluice/internal/service/gateway/plugin/prometheus"
	"sluice.dev/sluice/internal/service/gateway/plugin/socketlog"
	"sluice.dev/sluice/internal/service/gateway/plugin/statsd"
	"sluice.dev/sluice/internal/service/gateway/plugin/syslog"
	"sluice.dev/sluice/internal/service/gateway/plugin/transformer"
	"sluice.dev/sluice/internal/service/gateway/plugin/zipkin"
)

// observers are the kinds of plugin that log, count and trace, and those that run Lua, which
// computes fields of logs too.
type observers struct {
	nodeID string
	// node and gateway are what is read at a scrape; they are set before the first.
	node    func() prometheus.Node
	gateway *gateway.Gateway
	metrics *prometheus.Metrics
	lua     *lua.Engine
}

func newObservers(log *slog.Logger) *observers {
	o := &observers{nodeID: uuid.NewString()}
	o.lua = lua.New(lua.Config{}, lua.Deps{Clock: clock.System{}, Log: log, NodeID: o.nodeID})
	o.metrics = prometheus.New(prometheus.Deps{NodeID: o.nodeID, Node: func() prometheus.Node { return o.node() }, Health: o.health})
	return o
}

func (o *observers) kinds() []gateway.Plugin {
	custom := o.lua.Expressions()
	return []gateway.Plugin{
		o.metrics.Plugin(), httplog.New(httplog.Deps{CompileLua: custom}), statsd.New(), statsd.NewDatadog(), filelog.New(filelog.Deps{CompileLua: custom}),
		socketlog.NewUDP(socketlog.Deps{CompileLua: custom}), socketlog.NewTCP(socketlog.Deps{CompileLua: custom}),
		syslog.NewLoggly(syslog.Deps{CompileLua: custom}), syslog.New(syslog.Deps{CompileLua: custom}),
		zipkin.New(zipkin.Deps{NodeID: o.nodeID}), opentelemetry.New(opentelemetry.Deps{NodeID: o.nodeID}),
		function.NewPre(o.lua), function.NewPost(o.lua), transformer.NewRequest(o.lua), transformer.NewResponse(),
	}
}

// with returns these kinds and others.
func (o *observers) with(others []gateway.Plugin, more ...gateway.Plugin) []gateway.Plugin {
	return slices.Concat(o.kinds(), others, more)
}

// health is how the targets of all upstreams are.
func (o *observers) health() []prometheus.TargetHealth {
	upstreams, ok := o.gateway.Entity("upstreams")
	if !ok {
		return nil
	}
	var out []prometheus.TargetHealth
	for query, more := (gateway.ListQuery{Size: 1000}), true; more; {
		page, rest := o.gateway.List(upstreams, query)
		for _, r := range page {
			id, _ := r["id"].(string)
			name, _ := r["name"].(string)
			query.After = id
			status, _ := o.gateway.UpstreamStatus(id)
			for _, t := range status.Targets {
				h := prometheus.TargetHealth{Upstream: name, Target: t.Name, State: "dns_error"}
				if len(t.Addresses) == 0 {
					out = append(out, h)
				}
				for _, a := range t.Addresses {
					h.Address = a.Addr.String()
					switch {
					case !status.Checked:
						h.State = "healthchecks_off"
					case a.Healthy:
						h.State = "healthy"
					default:
						h.State = "unhealthy"
					}
					out = append(out, h)
				}
			}
		}
		more = rest && len(page) > 0
	}
	return out
}
