package node

import (
	"github.com/google/uuid"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/filelog"
	"sluice.dev/sluice/internal/service/gateway/plugin/prometheus"
)

// observers are the kinds of plugin that log, count and trace.
type observers struct {
	nodeID string
	// node reads the counters of the data plane; it is set before the first scrape.
	node    func() prometheus.Node
	metrics *prometheus.Metrics
}

func newObservers() *observers {
	o := &observers{nodeID: uuid.NewString()}
	o.metrics = prometheus.New(prometheus.Deps{NodeID: o.nodeID, Node: func() prometheus.Node { return o.node() }})
	return o
}

func (o *observers) kinds() []gateway.Plugin {
	return []gateway.Plugin{o.metrics.Plugin(), filelog.New(filelog.Deps{})}
}
