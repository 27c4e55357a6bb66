package zipkin

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/tracing"
)

// span is a span as Zipkin's API v2 takes it; times are microseconds.
type span struct {
	TraceID        string            `json:"traceId"`
	ID             string            `json:"id"`
	ParentID       string            `json:"parentId,omitempty"`
	Name           string            `json:"name"`
	Kind           string            `json:"kind"`
	Timestamp      int64             `json:"timestamp"`
	Duration       int64             `json:"duration"`
	LocalEndpoint  endpoint          `json:"localEndpoint"`
	RemoteEndpoint *endpoint         `json:"remoteEndpoint,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Annotations    []annotation      `json:"annotations,omitempty"`
}

type endpoint struct {
	ServiceName string `json:"serviceName,omitempty"`
	IPv4        string `json:"ipv4,omitempty"`
	IPv6        string `json:"ipv6,omitempty"`
	Port        int    `json:"port,omitempty"`
}

type annotation struct {
	Timestamp int64  `json:"timestamp"`
	Value     string `json:"value"`
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	if in.answer == "" {
		return
	}
	t, ok := x.Value(in).(*tracing.Trace)
	if !ok {
		t, _ = in.begin(x)
	}
	x.Response.Header.Add(in.answer, hex.EncodeToString(t.ID))
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) {
	if in.queue == nil {
		return
	}
	t, ok := x.Value(in).(*tracing.Trace)
	if !ok { // no route matched, or a plugin answered before this one
		t, _ = in.begin(x)
	}
	if !t.Sampled {
		return
	}
	for _, s := range in.spans(x, t) {
		raw, err := json.Marshal(s)
		if err == nil { // strings and numbers always encode
			in.queue.Add(raw)
		}
	}
}

func (in *instance) spans(x *gateway.Exchange, t *tracing.Trace) []*span {
	name := x.Request.Method
	if in.withPath {
		name += " " + x.Request.Path
	}
	begin := func(id, parent []byte, kind, name string, from, to time.Time) *span {
		return &span{TraceID: hex.EncodeToString(t.ID), ID: hex.EncodeToString(id), ParentID: hex.EncodeToString(parent), Kind: kind, Name: name,
			Timestamp: from.UnixMicro(), Duration: max(to.Sub(from).Microseconds(), 1), LocalEndpoint: endpoint{ServiceName: in.local}, Tags: map[string]string{}}
	}
	times := &x.Times
	request := begin(t.Server, t.Parent, "SERVER", name, times.Start, times.End)
	request.RemoteEndpoint = remote(x.Client(), "")
	in.tagRequest(request, x)
	proxy := begin(t.Client, t.Server, "CLIENT", name+" (proxy)", times.Start, times.End)
	in.phases(proxy, times)
	out := []*span{}
	tries := x.Tries()
	for i := range tries {
		try := &tries[i]
		s := begin(tracing.NewSpan(), t.Server, "CLIENT", fmt.Sprintf("%s (balancer try %d)", name, i+1), try.Start, try.Start.Add(try.Latency))
		s.Tags["kong.balancer.try"] = strconv.Itoa(i + 1)
		if try.Failed {
			s.Tags["error"], s.Tags["kong.balancer.state"], s.Tags["http.status_code"] = "true", try.State, strconv.Itoa(try.Code)
		}
		s.RemoteEndpoint = remote(try.Address, in.tagService(s, x))
		out = append(out, s)
	}
	service := in.tagService(proxy, x)
	var last netip.AddrPort
	if n := len(tries); n > 0 {
		last = tries[n-1].Address
		proxy.Tags["peer.hostname"] = x.Upstream.Service.Host
	}
	proxy.RemoteEndpoint = remote(last, service)
	return append(out, proxy, request)
}

func (in *instance) tagRequest(s *span, x *gateway.Exchange) {
	r := &x.Request
	protocol := "HTTP/2"
	if r.Proto == 1 {
		protocol = "HTTP/1." + strconv.Itoa(r.Minor)
	}
	set := func(name, value string) {
		if value != "" {
			s.Tags[name] = strings.ToValidUTF8(value, "\ufffd")
		}
	}
	for _, t := range in.static {
		set(t.name, t.value)
	}
	for part := range strings.SplitSeq(r.Header.Get(in.tagsHeader), ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && name != "" {
			set(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	set("lc", "kong")
	set("http.method", r.Method)
	set("http.host", r.Host)
	set("http.path", r.Path)
	set("http.protocol", protocol)
	set("http.status_code", strconv.Itoa(x.Response.Status))
	set("kong.node.id", in.d.NodeID)
	if c := x.Consumer(); c != nil {
		set("kong.consumer", c.ID)
	}
	if c := x.Credential(); c != nil && in.credential {
		set("kong.credential", c.ID)
	}
}

// tagService tags a span with where the request goes, and returns the service's name.
func (in *instance) tagService(s *span, x *gateway.Exchange) string {
	route := x.Route()
	if route == nil || route.Service == nil {
		return in.fallback
	}
	s.Tags["kong.route"], s.Tags["kong.service"] = route.ID, route.Service.ID
	if route.Name != "" {
		s.Tags["kong.route_name"] = route.Name
	}
	if route.Service.Name == "" {
		return in.fallback
	}
	s.Tags["kong.service_name"] = route.Service.Name
	return route.Service.Name
}

// phases tells when the gateway's phases began and ended, by Kong's names.
func (in *instance) phases(s *span, t *gateway.Times) {
	sent := t.UpstreamStart
	if sent.IsZero() {
		sent = t.End
	}
	head := t.UpstreamHeader
	if head.IsZero() {
		head = t.End
	}
	if in.asTags {
		ms := func(from, to time.Time) string { return strconv.FormatInt(max(to.Sub(from).Milliseconds(), 0), 10) }
		s.Tags["kong.access.duration_ms"], s.Tags["kong.body_filter.duration_ms"] = ms(t.Start, sent), ms(head, t.End)
		return
	}
	for _, a := range []struct {
		name string
		at   time.Time
	}{{"kas", t.Start}, {"kaf", sent}, {"khs", head}, {"khf", head}, {"kbs", head}, {"kbf", t.End}} {
		s.Annotations = append(s.Annotations, annotation{a.at.UnixMicro(), a.name})
	}
}

func remote(a netip.AddrPort, service string) *endpoint {
	if !a.IsValid() && service == "" {
		return nil
	}
	e := &endpoint{ServiceName: service}
	if a.IsValid() {
		e.Port = int(a.Port())
		if ip := a.Addr().Unmap(); ip.Is4() {
			e.IPv4 = ip.String()
		} else {
			e.IPv6 = ip.String()
		}
	}
	return e
}
