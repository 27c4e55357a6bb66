package tracing_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/tracing"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	trace16 = "0af7651916cd43dd8448eb211c80319c"
	trace8  = "8448eb211c80319c"
	span    = "b7ad6b7169203331"
	parent  = "00f067aa0ba902b7"
)

func propagation(t testing.TB, in schema.Record) tracing.Propagation {
	t.Helper()
	f := &schema.Field{Fields: []*schema.Field{tracing.HeaderType("opentelemetry"), tracing.Field("w3c")}}
	if r, ok := in["propagation"].(schema.Record); ok {
		r["default_format"] = "w3c" // required where any of it is given
	}
	full := f.Complete(in)
	if bad := f.Validate(full); bad != nil {
		t.Fatal(bad)
	}
	return tracing.Of(full)
}

// pass takes a request with the given headers through a propagation.
func pass(t testing.TB, g *gateway.Gateway, p tracing.Propagation, headers ...string) (*tracing.Trace, map[string]string) {
	x := g.Begin()
	defer g.End(x)
	for i := 0; i < len(headers); i += 2 {
		x.Request.Header.AddValid(headers[i], headers[i+1])
	}
	tr, found := p.Begin(x, 16, func(c tracing.Sampling, _ []byte) bool { return c != tracing.Ignore })
	p.Pass(x, tr, found)
	out := map[string]string{}
	for _, f := range x.Request.Header.Fields() {
		out[strings.ToLower(f.Name)] = f.Value
	}
	return tr, out
}

func TestExtractAndInject(t *testing.T) {
	g := gatewaytest.New(t, nil)
	// In what is written, CLIENT and SERVER stand for the new spans, in hexadecimal.
	for name, tc := range map[string]struct {
		format   string
		in       []string
		id       string
		parent   string // of the server span
		server   string // where it is the sender's
		unsample bool
		out      map[string]string
	}{
		"w3c": {"w3c", []string{"traceparent", "00-" + trace16 + "-" + span + "-01"}, trace16, span, "", false,
			map[string]string{"traceparent": "00-" + trace16 + "-CLIENT-01"}},
		"w3c unsampled": {"w3c", []string{"traceparent", "00-" + trace16 + "-" + span + "-00"}, trace16, span, "", true,
			map[string]string{"traceparent": "00-" + trace16 + "-CLIENT-00"}},
		"w3c of a later version": {"w3c", []string{"traceparent", "01-" + trace16 + "-" + span + "-01-more"}, trace16, span, "", false,
			map[string]string{"traceparent": "00-" + trace16 + "-CLIENT-01"}},
		"b3": {"b3", []string{"X-B3-TraceId", trace8, "X-B3-SpanId", span, "X-B3-ParentSpanId", parent, "X-B3-Sampled", "1"}, trace8, parent, span, false,
			map[string]string{"x-b3-traceid": trace8, "x-b3-spanid": "CLIENT", "x-b3-parentspanid": span, "x-b3-sampled": "1"}},
		"b3 single": {"b3", []string{"b3", trace16 + "-" + span + "-d-" + parent}, trace16, parent, span, false,
			map[string]string{"b3": trace16 + "-CLIENT-d-" + span}},
		"b3 decision alone": {"b3", []string{"b3", "0"}, "", "", "", true, map[string]string{}},
		"jaeger": {"jaeger", []string{"uber-trace-id", strings.TrimPrefix(trace16, "0") + ":" + span + ":0:1"}, trace16, "", span, false,
			map[string]string{"uber-trace-id": trace16 + ":CLIENT:" + span + ":01"}},
		"ot": {"ot", []string{"ot-tracer-traceid", trace8, "ot-tracer-spanid", span, "ot-tracer-sampled", "false"}, trace8, span, "", true,
			map[string]string{"ot-tracer-traceid": trace8, "ot-tracer-spanid": "CLIENT", "ot-tracer-sampled": "0"}},
		"datadog": {"datadog", []string{"x-datadog-trace-id", "9532127138774266268", "x-datadog-parent-id", "13235353014750950193", "x-datadog-sampling-priority", "2"},
			trace8, span, "", false, map[string]string{"x-datadog-trace-id": "9532127138774266268", "x-datadog-sampling-priority": "1"}},
		"aws": {"aws", []string{"X-Amzn-Trace-Id", "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=" + span + ";Sampled=1"}, trace16, span, "", false,
			map[string]string{"x-amzn-trace-id": "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=CLIENT;Sampled=1"}},
		"gcp": {"gcp", []string{"X-Cloud-Trace-Context", trace16 + "/13235353014750950193;o=1"}, trace16, span, "", false, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			tr, out := pass(t, g, propagation(t, schema.Record{"propagation": schema.Record{"extract": []any{tc.format}, "inject": []any{"preserve"}}}), tc.in...)
			if got := hex.EncodeToString(tr.ID); tc.id != "" && got != tc.id || len(tr.ID) == 0 {
				t.Errorf("trace %s", got)
			}
			if got := hex.EncodeToString(tr.Parent); got != tc.parent {
				t.Errorf("parent %s, want %s", got, tc.parent)
			}
			if got := hex.EncodeToString(tr.Server); tc.server != "" && got != tc.server || len(tr.Server) != 8 {
				t.Errorf("server %s, want %s", got, tc.server)
			}
			if tr.Sampled == tc.unsample {
				t.Errorf("sampled: %v", tr.Sampled)
			}
			for h, want := range tc.out {
				want = strings.ReplaceAll(want, "CLIENT", hex.EncodeToString(tr.Client))
				if out[h] != want {
					t.Errorf("%s: %s, want %s", h, out[h], want)
				}
			}
			if again, _ := pass(t, g, propagation(t, schema.Record{"propagation": schema.Record{"extract": []any{tc.format}}}), flat(out)...); tc.id != "" && hex.EncodeToString(again.ID) != tc.id {
				t.Errorf("what is written reads as %x", again.ID)
			}
		})
	}
}

func flat(m map[string]string) (out []string) {
	for k, v := range m {
		out = append(out, k, v)
	}
	return out
}

func TestMalformedCountsAsAbsent(t *testing.T) {
	g := gatewaytest.New(t, nil)
	p := propagation(t, schema.Record{"header_type": "preserve"})
	for _, h := range [][2]string{
		{"traceparent", "00-" + trace16 + "-" + span}, {"traceparent", "ff-" + trace16 + "-" + span + "-01"}, {"traceparent", "00-" + strings.Repeat("0", 32) + "-" + span + "-01"},
		{"traceparent", "00-" + trace8 + "-" + span + "-01"}, {"b3", "zz-" + span + "-1"}, {"uber-trace-id", "0:1:0:1"}, {"uber-trace-id", trace16 + ":" + span + ":0:xyz"},
		{"x-datadog-trace-id", "-5"}, {"x-amzn-trace-id", "Root=2-0af76519-16cd43dd8448eb211c80319c"}, {"x-cloud-trace-context", trace16 + "/x"},
	} {
		tr, out := pass(t, g, p, h[0], h[1])
		if tr.Parent != nil || hex.EncodeToString(tr.ID) == trace16 || out["traceparent"] == "" {
			t.Errorf("%s: %s: trace %x, parent %x", h[0], h[1], tr.ID, tr.Parent)
		}
	}
}

func TestConfiguration(t *testing.T) {
	g := gatewaytest.New(t, nil)
	w3c := []string{"traceparent", "00-" + trace16 + "-" + span + "-01", "b3", trace8 + "-" + span + "-1"}
	for name, tc := range map[string]struct {
		config  schema.Record
		id      string
		present []string
		absent  []string
	}{
		"the first format found": {schema.Record{"propagation": schema.Record{"extract": []any{"w3c", "b3"}, "inject": []any{"preserve"}}}, trace16, []string{"traceparent"}, nil},
		"clear":                  {schema.Record{"propagation": schema.Record{"extract": []any{"w3c"}, "clear": []any{"traceparent", "b3"}, "inject": []any{"aws", "gcp"}}}, trace16, []string{"x-amzn-trace-id", "x-cloud-trace-context"}, []string{"traceparent", "b3"}},
		"no extraction":          {schema.Record{"propagation": schema.Record{"inject": []any{"jaeger"}}}, "", []string{"uber-trace-id"}, nil},
		"ignore":                 {schema.Record{"header_type": "ignore"}, "", []string{"traceparent"}, nil},
		"a format besides":       {schema.Record{"header_type": "ot"}, trace8, []string{"b3", "ot-tracer-traceid"}, nil},
	} {
		tr, out := pass(t, g, propagation(t, tc.config), w3c...)
		id := hex.EncodeToString(tr.ID)
		if tc.id != "" && id != tc.id || tc.id == "" && (id == trace16 || id == trace8) {
			t.Errorf("%s: trace %s", name, id)
		}
		for _, h := range tc.present {
			if out[h] == "" {
				t.Errorf("%s: no %s in %v", name, h, out)
			}
		}
		for _, h := range tc.absent {
			if out[h] != "" {
				t.Errorf("%s: %s is still there", name, h)
			}
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("traceparent", "00-"+trace16+"-"+span+"-01")
	f.Add("b3", trace16+"-"+span+"-d-"+parent)
	f.Add("uber-trace-id", "1:2:3:1")
	f.Add("x-amzn-trace-id", "Root=1-;Parent=;=;")
	g := gatewaytest.New(f, nil)
	p := propagation(f, schema.Record{"header_type": "preserve"})
	f.Fuzz(func(t *testing.T, name, value string) {
		if !gateway.ValidName(name) {
			return
		}
		tr, _ := pass(t, g, p, name, value)
		if n := len(tr.ID); n != 8 && n != 16 || len(tr.Server) != 8 || len(tr.Client) != 8 {
			t.Errorf("%+v", tr)
		}
	})
}
