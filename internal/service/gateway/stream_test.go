package gateway_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestStreamRoutes(t *testing.T) {
	kinds := probes(nil)
	g := gatewaytest.New(t, kinds, flavored(gateway.Expressions))
	source := []any{schema.Record{"ip": "10.0.0.1", "port": 80.0}}
	for _, c := range []struct {
		r    schema.Record
		want string
	}{
		{schema.Record{"protocols": []any{"tcp", "udp"}, "sources": source}, ""},
		{schema.Record{"protocols": []any{"tcp", "tls"}, "snis": []any{"a.example", "*.b.example"}}, ""},
		{schema.Record{"protocols": []any{"tls_passthrough"}, "snis": []any{"a.example"}}, ""},
		{schema.Record{"protocols": []any{"tls_passthrough"}, "sources": source}, "must set snis when 'protocols' is 'tls_passthrough'"},
		{schema.Record{"protocols": []any{"tcp"}}, "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'"},
		{schema.Record{"protocols": []any{"tcp"}, "snis": []any{"a.example"}}, "'snis' can only be set when"},
		{schema.Record{"protocols": []any{"udp"}, "sources": source, "paths": []any{"/x"}}, "cannot set 'paths' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"},
		{schema.Record{"protocols": []any{"tcp", "http"}, "sources": source}, "these sets are mutually exclusive"},
		{schema.Record{"protocols": []any{"tls_passthrough", "tls"}, "snis": []any{"a.example"}}, "these sets are mutually exclusive"},
		{schema.Record{"protocols": []any{"tcp"}, "sources": []any{schema.Record{"port": 70000.0}}}, "value should be between 0 and 65535"},
		{schema.Record{"protocols": []any{"tcp"}, "expression": `net.src.ip in 10.0.0.0/8 && net.dst.port == 9000`}, ""},
		{schema.Record{"protocols": []any{"tls"}, "expression": `http.path == "/"`}, "Unknown LHS field: http.path"},
	} {
		if got := refusal(t, g, "routes", c.r); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.r, got, c.want)
		}
	}
	if got := refusal(t, g, "plugins", schema.Record{"name": kinds[0].Name, "protocols": []any{"tcp"}}); !strings.Contains(got, "expected one of") {
		t.Errorf("a plugin of HTTP alone, for TCP: %q", got)
	}
	if got := refusal(t, g, "services", schema.Record{"host": "h", "protocol": "tcp", "path": "/x"}); !strings.Contains(got, "path") {
		t.Errorf("a path over TCP: %q", got)
	}
}
