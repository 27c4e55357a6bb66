package statsd_test

import (
	"bufio"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/statsd"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// send puts requests through a kind that sends to a real UDP server, and returns the
// datagrams. Over TCP each line counts as one.
func send(t *testing.T, kind gateway.Plugin, config schema.Record, want int, statuses ...int) []string {
	t.Helper()
	config["host"] = "127.0.0.1"
	got := make(chan string, 1000)
	if config["use_tcp"] == true {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		config["port"] = float64(ln.Addr().(*net.TCPAddr).Port)
		go func() {
			if c, err := ln.Accept(); err == nil {
				for s := bufio.NewScanner(c); s.Scan(); {
					got <- s.Text()
				}
			}
		}()
	} else {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		config["port"] = float64(pc.LocalAddr().(*net.UDPAddr).Port)
		go func() {
			buf := make([]byte, 65536)
			for {
				n, _, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				got <- string(buf[:n])
			}
		}()
	}
	g, log := gatewaytest.Logged(t, kind, config)
	for _, s := range statuses {
		log(s)
	}
	g.Close()
	var out []string
	for range want {
		select {
		case s := <-got:
			out = append(out, s)
		case <-time.After(5 * time.Second):
			t.Fatalf("only %q", out)
		}
	}
	select {
	case s := <-got:
		t.Errorf("one too many: %q", s)
	case <-time.After(20 * time.Millisecond):
	}
	return out
}

func TestDefaultMetrics(t *testing.T) {
	want := []string{
		"kong.service.my_service.request.count:1|c", "kong.service.my_service.latency:130|ms", "kong.service.my_service.request.size:100|c",
		"kong.service.my_service.status.200:1|c", "kong.service.my_service.response.size:200|c", "kong.service.my_service.user.uniques:42|s",
		"kong.service.my_service.user.42.request.count:1|c", "kong.service.my_service.upstream_latency:90|ms",
		"kong.service.my_service.kong_latency:3|ms", "kong.service.my_service.user.42.status.200:1|c",
		"kong.service.my_service.workspace." + gateway.WorkspaceID + ".status.200:1|c",
		"kong.route." + gatewaytest.LoggedRoute + ".user.42.status.200:1|c",
	}
	for name, config := range map[string]schema.Record{"udp": {}, "tcp": {"use_tcp": true}} {
		if diff := cmp.Diff(want, send(t, statsd.New(), config, len(want), 200)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	packets := send(t, statsd.New(), schema.Record{"udp_packet_size": 120.0}, 7, 200)
	for _, p := range packets {
		if len(p) > 120 {
			t.Errorf("a packet of %d bytes: %q", len(p), p)
		}
	}
	if diff := cmp.Diff(want, strings.Split(strings.Join(packets, "\n"), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestShapes(t *testing.T) {
	host, _ := os.Hostname()
	host = strings.ReplaceAll(host, ".", "_")
	one := func(name, kind string, more schema.Record) []any {
		m := schema.Record{"name": name, "stat_type": kind, "sample_rate": 1.0}
		for k, v := range more {
			m[k] = v
		}
		return []any{m}
	}
	tags := "service=my.service,route=r,workspace=default,consumer=alice,node=" + host + ",status=200"
	tagged := func(style string) schema.Record {
		return schema.Record{"tag_style": style, "workspace_identifier_default": "workspace_name", "consumer_identifier_default": "username",
			"metrics": one("request_count", "counter", schema.Record{"sample_rate": 0.5})}
	}
	for want, config := range map[string]schema.Record{
		"p.service.127_0_0_1.latency:130|h": {"prefix": "p", "service_identifier_default": "service_host", "metrics": one("latency", "histogram", nil)},
		"kong.node." + host + ".service.my_service.user.11-22.request.count:1|c|@0.1": {"hostname_in_prefix": true,
			"metrics": one("request_per_user", "counter", schema.Record{"consumer_identifier": "consumer_id", "sample_rate": 0.1})},
		"kong.request.count:1|c|@0.5|#" + strings.ReplaceAll(tags, "=", ":"): tagged("dogstatsd"),
		"kong.request.count," + tags + ":1|c|@0.5":                           tagged("influxdb"),
		"kong.request.count#" + tags + ":1|c|@0.5":                           tagged("librato"),
		"kong.request.count[" + tags + "]:1|c|@0.5":                          tagged("signalfx"),
	} {
		if got := send(t, statsd.New(), config, 1, 200); got[0] != want {
			t.Errorf("got  %s\nwant %s", got[0], want)
		}
	}
	got := send(t, statsd.New(), schema.Record{"metrics": one("request_count", "counter", nil), "allow_status_codes": []any{"200-299", "404-404"}}, 2, 200, 500, 404)
	if !slices.Equal(got, []string{"kong.service.my_service.request.count:1|c", "kong.global.unmatched.request.count:1|c"}) {
		t.Errorf("%q", got)
	}
}

func TestDatadog(t *testing.T) {
	tags := "|#name:my_service,status:200,consumer:42,app:kong"
	want := []string{"kong.request.count:1|c" + tags, "kong.latency:130|ms" + tags, "kong.request.size:100|ms" + tags,
		"kong.response.size:200|ms" + tags, "kong.upstream_latency:90|ms" + tags, "kong.kong_latency:3|ms" + tags}
	if diff := cmp.Diff(want, send(t, statsd.NewDatadog(), schema.Record{}, 6, 200, 404)); diff != "" {
		t.Error(diff)
	}
	got := send(t, statsd.NewDatadog(), schema.Record{"service_name_tag": "svc", "metrics": []any{schema.Record{
		"name": "latency", "stat_type": "distribution", "consumer_identifier": "consumer_id"}}}, 1, 200)
	if got[0] != "kong.latency:130|d|#svc:my_service,status:200,consumer:11_22" {
		t.Errorf("%q", got)
	}
}

func TestSchema(t *testing.T) {
	for _, tc := range []struct {
		kind gateway.Plugin
		in   schema.Record
		want string
	}{
		{statsd.New(), schema.Record{"metrics": []any{schema.Record{"name": "latency", "stat_type": "gauge"}}}, "sample_rate: required field missing"},
		{statsd.New(), schema.Record{"allow_status_codes": []any{"2xx"}}, "invalid value: 2xx"},
		{statsd.NewDatadog(), schema.Record{"metrics": []any{schema.Record{"name": "latency", "stat_type": "timer", "tags": []any{"a:"}}}}, "invalid value: a:"},
		{statsd.NewDatadog(), schema.Record{"metrics": []any{schema.Record{"name": "status_count", "stat_type": "counter", "sample_rate": 1.0}}}, "expected one of"},
	} {
		bad := tc.kind.Config.Validate(tc.kind.Config.Complete(tc.in))
		if bad == nil || !strings.Contains(bad.String(), tc.want) {
			t.Errorf("%v: %v, want %s", tc.in, bad, tc.want)
		}
		if bad := tc.kind.Config.Validate(tc.kind.Config.Complete(schema.Record{})); bad != nil {
			t.Errorf("the defaults of %s: %v", tc.kind.Name, bad)
		}
	}
}
