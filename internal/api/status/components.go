package status

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

// components are the parts of a node as a metric. They are checked when the metric is read,
// so that it agrees with the pages of health.
type components []map[string]func() error

var componentDesc = prometheus.NewDesc("sluice_component_up", "Whether a part of the node works: 1 if it does, else 0. /status/ready says why one does not.", []string{"component"}, nil)

// Describe names the metric.
func (c components) Describe(to chan<- *prometheus.Desc) { to <- componentDesc }

// Collect checks the parts.
func (c components) Collect(to chan<- prometheus.Metric) {
	all := map[string]func() error{}
	for _, parts := range c {
		maps.Copy(all, parts)
	}
	for name, check := range all {
		up := 1.0
		if check() != nil {
			up = 0
		}
		to <- prometheus.MustNewConstMetric(componentDesc, prometheus.GaugeValue, up, name)
	}
}
