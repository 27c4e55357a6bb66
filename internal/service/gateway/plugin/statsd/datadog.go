package statsd

import (
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// datadog is one configuration of the plugin datadog.
type datadog struct {
	sender
	prefix                             string
	serviceTag, statusTag, consumerTag string
	metrics                            []metric
}

func newDatadog(config schema.Record, env gateway.Env) (any, error) {
	or := func(name, def string) string {
		if s := fields.String(config, name); s != "" {
			return s
		}
		return def
	}
	return &datadog{sender: newSender(config, env, "udp", 0), prefix: fields.String(config, "prefix"),
		serviceTag: or("service_name_tag", "name"), statusTag: or("status_tag", "status"), consumerTag: or("consumer_tag", "consumer"),
		metrics: metricsOf(config)}, nil
}

// Log implements gateway.Logger.
func (d *datadog) Log(x *gateway.Exchange) {
	service := serviceOf(x)
	if service == nil {
		return
	}
	var entry []byte
	for i := range d.metrics {
		m := &d.metrics[i]
		name, value, ok := measured(m.name, x)
		if !ok {
			continue
		}
		tags := []tag{{d.serviceTag, dotless(serviceName(service, ""))}, {d.statusTag, strconv.Itoa(x.Response.Status)}}
		if m.consumer != "" {
			c := consumerName(x.Consumer(), m.consumer)
			if m.consumer == "consumer_id" {
				c = strings.ReplaceAll(c, "-", "_")
			}
			if c != "" {
				tags = append(tags, tag{d.consumerTag, c})
			}
		}
		l := line{prefix: d.prefix, name: name, value: strconv.FormatInt(value, 10), kind: m.kind, rate: m.rate,
			style: dogstatsd, tags: slices.Concat(tags, m.tags)}
		entry = l.appendTo(entry)
	}
	if len(entry) > 0 {
		d.queue.Add(entry)
	}
}
