package opentelemetry

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/tracing"
)

func text(name, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{
		Value: &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(strings.Clone(value), "\ufffd")}}}
}

func number(name string, value int) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(value)}}}
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	if in.answer != "" {
		x.Response.Header.Add(in.answer, hex.EncodeToString(in.trace(x).ID))
	}
}

// trace returns the request's trace, which begins here where it was answered before this
// plugin's access phase.
func (in *instance) trace(x *gateway.Exchange) *tracing.Trace {
	t, ok := x.Value(in).(*tracing.Trace)
	if !ok {
		t, _ = in.begin(x)
	}
	return t
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) {
	t := in.trace(x)
	if in.traces != nil && t.Sampled {
		for _, s := range spans(x, t) {
			in.traces.queue.Add(s)
		}
	}
	if in.logs != nil {
		in.logs.queue.Add(in.logRecord(x, t))
	}
}

func spans(x *gateway.Exchange, t *tracing.Trace) []*tracepb.Span {
	begin := func(id, parent []byte, kind tracepb.Span_SpanKind, name string, from, to time.Time) *tracepb.Span {
		return &tracepb.Span{TraceId: t.ID, SpanId: id, ParentSpanId: parent, Name: name, Kind: kind,
			StartTimeUnixNano: uint64(from.UnixNano()), EndTimeUnixNano: uint64(max(to.UnixNano(), from.UnixNano()))}
	}
	r := &x.Request
	flavor := strconv.Itoa(r.Proto)
	if r.Proto == 1 {
		flavor += "." + strconv.Itoa(r.Minor)
	}
	root := begin(t.Server, t.Parent, tracepb.Span_SPAN_KIND_SERVER, "kong", x.Times.Start, x.Times.End)
	root.Attributes = []*commonpb.KeyValue{
		text("http.method", r.Method), text("http.url", r.Scheme+"://"+r.Authority+r.RawPath), text("http.host", r.Host),
		text("http.scheme", r.Scheme), text("http.flavor", flavor), text("http.client_ip", x.ClientIP()), text("net.peer.ip", x.ClientIP()),
		text("kong.request.id", x.ID()), number("http.status_code", x.Response.Status),
	}
	if route := x.Route(); route != nil {
		name := route.Name
		if name == "" {
			name = route.ID
		}
		root.Attributes = append(root.Attributes, text("http.route", name))
	}
	if x.Response.Status >= 500 {
		root.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
	}
	out := []*tracepb.Span{root}
	tries := x.Tries()
	for i := range tries {
		try := &tries[i]
		id, end := tracing.NewSpan(), x.Times.End
		if i < len(tries)-1 {
			end = tries[i+1].Start
		} else {
			id = t.Client // what the upstream was told is its parent
			if h := x.Times.UpstreamHeader; !h.IsZero() {
				end = h
			}
		}
		s := begin(id, t.Server, tracepb.Span_SPAN_KIND_CLIENT, "kong.balancer", try.Start, end)
		s.Attributes = []*commonpb.KeyValue{number("try_count", i+1), text("net.peer.name", x.Upstream.Service.Host)}
		if try.Address.IsValid() {
			s.Attributes = append(s.Attributes, text("net.peer.ip", try.Address.Addr().String()), number("net.peer.port", int(try.Address.Port())))
		}
		if try.Failed {
			s.Attributes = append(s.Attributes, number("http.status_code", try.Code))
			s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: try.State}
		}
		out = append(out, s)
	}
	return out
}

// logRecord is the record of a request as a log of OTLP.
func (in *instance) logRecord(x *gateway.Exchange, t *tracing.Trace) *logspb.LogRecord {
	severity, word := logspb.SeverityNumber_SEVERITY_NUMBER_INFO, "INFO"
	switch {
	case x.Response.Status >= 500:
		severity, word = logspb.SeverityNumber_SEVERITY_NUMBER_ERROR, "ERROR"
	case x.Response.Status >= 400:
		severity, word = logspb.SeverityNumber_SEVERITY_NUMBER_WARN, "WARN"
	}
	at := uint64(x.Times.End.UnixNano())
	body := ""
	in.records.With(x, func(b []byte) { body = string(b) })
	l := &logspb.LogRecord{TimeUnixNano: at, ObservedTimeUnixNano: at, SeverityNumber: severity, SeverityText: word,
		Body: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: body}}, Attributes: []*commonpb.KeyValue{text("request.id", x.ID())},
		TraceId: t.ID, SpanId: t.Server}
	if t.Sampled {
		l.Flags = 1
	}
	return l
}
