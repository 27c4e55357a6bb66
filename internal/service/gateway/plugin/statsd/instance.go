package statsd

import (
	"bytes"
	"context"
	"net"
	"os"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/sink"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// sender queues lines and sends them. Both kinds embed it.
type sender struct {
	queue *batch.Queue[[]byte]
	sink  *sink.Sink
}

// newSender returns a sender to the configured server. packet is the size up to which
// lines share a datagram.
func newSender(config schema.Record, env gateway.Env, network string, packet int) sender {
	s := sink.New(sink.Config{Network: network,
		Address: net.JoinHostPort(fields.String(config, "host"), strconv.Itoa(fields.Int(config, "port")))}, env.Clock)
	send := func(ctx context.Context, entries [][]byte) error {
		lines := bytes.Join(entries, nil)
		if network == "tcp" {
			return s.Write(ctx, lines)
		}
		for len(lines) > 0 {
			n := bytes.IndexByte(lines, '\n')
			for n+1 < len(lines) {
				next := n + 1 + bytes.IndexByte(lines[n+1:], '\n')
				if next > packet {
					break
				}
				n = next
			}
			if err := s.Write(ctx, lines[:n]); err != nil {
				return err
			}
			lines = lines[n+1:]
		}
		return nil
	}
	return sender{batch.New(batch.Of(config), batch.Deps[[]byte]{Clock: env.Clock, Log: env.Log, Send: send,
		Size: func(b []byte) int { return len(b) }}), s}
}

// Close implements gateway.Closer.
func (s sender) Close(ctx context.Context) error {
	defer s.sink.Close()
	return s.queue.Close(ctx)
}

// metric is one configured measurement.
type metric struct {
	name, kind                   string
	rate                         float64
	consumer, service, workspace string // how they are identified
	tags                         []tag
}

func metricsOf(config schema.Record) []metric {
	list, _ := config["metrics"].([]any)
	out := make([]metric, 0, len(list))
	for _, e := range list {
		r, _ := e.(schema.Record)
		or := func(name, def string) string {
			if s := fields.String(r, name); s != "" {
				return s
			}
			return fields.String(config, def)
		}
		m := metric{name: fields.String(r, "name"), kind: fields.String(r, "stat_type"),
			consumer: or("consumer_identifier", "consumer_identifier_default"), service: or("service_identifier", "service_identifier_default"),
			workspace: or("workspace_identifier", "workspace_identifier_default")}
		m.rate, _ = r["sample_rate"].(float64)
		for _, t := range fields.Strings(r, "tags") {
			name, value, _ := strings.Cut(t, ":")
			m.tags = append(m.tags, tag{name, value})
		}
		out = append(out, m)
	}
	return out
}

// instance is one configuration of statsd.
type instance struct {
	sender
	prefix  string
	host    string // of the node, without dots
	style   string
	metrics []metric
	allowed []statusRange
}

func newInstance(config schema.Record, env gateway.Env) (any, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	network := "udp"
	if fields.Bool(config, "use_tcp") {
		network = "tcp"
	}
	in := &instance{sender: newSender(config, env, network, fields.Int(config, "udp_packet_size")), prefix: fields.String(config, "prefix"),
		host: dotless(host), style: fields.String(config, "tag_style"), metrics: metricsOf(config)}
	if fields.Bool(config, "hostname_in_prefix") && in.style == "" {
		in.prefix += ".node." + in.host
	}
	for _, s := range fields.Strings(config, "allow_status_codes") {
		in.allowed = append(in.allowed, parseRange(s))
	}
	return in, nil
}

func dotless(s string) string { return strings.ReplaceAll(s, ".", "_") }

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) {
	if !allows(in.allowed, x.Response.Status) {
		return
	}
	var entry []byte
	for i := range in.metrics {
		entry = in.appendMetric(entry, &in.metrics[i], x)
	}
	if len(entry) > 0 {
		in.queue.Add(entry)
	}
}

// appendMetric appends the line of a measurement, if it has one for this exchange.
func (in *instance) appendMetric(dst []byte, m *metric, x *gateway.Exchange) []byte {
	l := line{prefix: in.prefix, kind: m.kind, rate: m.rate, style: in.style}
	name, value, number := measured(m.name, x)
	if in.style != "" { // names without particulars; those are in the tags
		if !number {
			return dst
		}
		if l.tags = in.tags(m, x); l.tags == nil {
			return dst
		}
		l.name, l.value = name, strconv.FormatInt(value, 10)
		return l.appendTo(dst)
	}
	scope := "global.unmatched"
	service := serviceOf(x)
	if service != nil {
		scope = "service." + dotless(serviceName(service, m.service))
	}
	status := strconv.Itoa(x.Response.Status)
	l.value = "1"
	consumer := consumerName(x.Consumer(), m.consumer)
	switch m.name {
	case "status_count":
		l.name, l.kind = scope+".status."+status, "counter"
	case "status_count_per_workspace":
		l.name, l.kind = scope+".workspace."+workspaceName(m.workspace)+".status."+status, "counter"
	case "unique_users", "request_per_user", "status_count_per_user", "status_count_per_user_per_route":
		if consumer == "" {
			return dst
		}
		switch m.name {
		case "unique_users":
			l.name, l.kind, l.value, l.rate = scope+".user.uniques", "set", consumer, 0
		case "request_per_user":
			l.name, l.kind = scope+".user."+consumer+".request.count", "counter"
		case "status_count_per_user":
			l.name, l.kind = scope+".user."+consumer+".status."+status, "counter"
		default:
			if x.Route() == nil {
				return dst
			}
			l.name, l.kind = "route."+x.Route().ID+".user."+consumer+".status."+status, "counter"
		}
	default:
		if !number {
			return dst
		}
		l.name, l.value = scope+"."+name, strconv.FormatInt(value, 10)
	}
	return l.appendTo(dst)
}

// tags returns what distinguishes a request; nil where it reached no service.
func (in *instance) tags(m *metric, x *gateway.Exchange) []tag {
	service := serviceOf(x)
	if service == nil {
		return nil
	}
	out := []tag{{"service", serviceName(service, m.service)}}
	if r := x.Route(); r != nil {
		name := r.Name
		if name == "" {
			name = r.ID
		}
		out = append(out, tag{"route", name})
	}
	out = append(out, tag{"workspace", workspaceName(m.workspace)})
	if c := consumerName(x.Consumer(), m.consumer); c != "" {
		out = append(out, tag{"consumer", c})
	}
	return append(out, tag{"node", in.host}, tag{"status", strconv.Itoa(x.Response.Status)})
}

func serviceOf(x *gateway.Exchange) *gateway.Service {
	if r := x.Route(); r != nil {
		return r.Service
	}
	return nil
}

func serviceName(s *gateway.Service, by string) string {
	name := ""
	switch by {
	case "service_id":
		name = s.ID
	case "service_host":
		name = s.Host
	case "service_name":
		name = s.Name
	default:
		if name = s.Name; name == "" {
			name = s.Host
		}
	}
	if name == "" {
		return "unnamed"
	}
	return name
}

func consumerName(c *gateway.Consumer, by string) string {
	switch {
	case c == nil:
		return ""
	case by == "consumer_id":
		return c.ID
	case by == "username":
		return c.Username
	}
	return c.CustomID
}

func workspaceName(by string) string {
	if by == "workspace_name" {
		return gateway.Workspace
	}
	return gateway.WorkspaceID
}

// statusRange is one entry of allow_status_codes; both ends belong to it.
type statusRange struct{ from, to int }

func parseRange(s string) statusRange {
	from, to, _ := strings.Cut(s, "-")
	var r statusRange
	r.from, _ = strconv.Atoi(from) // the schema has checked the form
	r.to, _ = strconv.Atoi(to)
	return r
}

func allows(ranges []statusRange, status int) bool {
	for _, r := range ranges {
		if r.from <= status && status <= r.to {
			return true
		}
	}
	return len(ranges) == 0
}
