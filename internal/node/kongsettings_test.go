package node_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/node"
)

// Clients such as go-kong read the listeners from GET /.
func TestKongSettings(t *testing.T) {
	got, err := node.KongSettings(func(c *node.Config) {
		c.Gate.StreamListen = "127.0.0.1:9000, [::1]:9001 ssl proxy_protocol, 127.0.0.1:9002 udp"
		c.Gate.TrustedIPs = "10.0.0.0/8"
		c.Kong.AdminToken = "a secret"
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(got)
	if err != nil || strings.Contains(string(raw), "a secret") {
		t.Fatalf("%s %v", raw, err)
	}
	var read map[string]any
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	shown := func(key, member string) string {
		var out []string
		for _, l := range read[key].([]any) {
			out = append(out, fmt.Sprint(l.(map[string]any)[member]))
		}
		return strings.Join(out, ", ")
	}
	for _, c := range []struct{ key, member, want string }{
		{"proxy_listeners", "ip", "127.0.0.1, 127.0.0.1"}, {"proxy_listeners", "port", "8000, 8443"}, {"proxy_listeners", "ssl", "false, true"},
		{"proxy_listeners", "http2", "false, true"}, {"proxy_listeners", "listener", "127.0.0.1:8000, 127.0.0.1:8443 ssl http2"},
		{"stream_listeners", "port", "9000, 9001, 9002"}, {"stream_listeners", "ip", "127.0.0.1, ::1, 127.0.0.1"},
		{"stream_listeners", "udp", "false, false, true"}, {"stream_listeners", "proxy_protocol", "false, true, false"},
		{"admin_listeners", "port", "8001"}, {"status_listeners", "port", "8007"},
	} {
		if got := shown(c.key, c.member); got != c.want {
			t.Errorf("%s.%s: %s, want %s", c.key, c.member, got, c.want)
		}
	}
	if fmt.Sprint(read["trusted_ips"]) != "[10.0.0.0/8]" || read["database"] != "postgres" || read["router_flavor"] != "traditional_compatible" {
		t.Errorf("%s", raw)
	}
}
