package proxy_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/filelog"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestLoggedHeaders compares the headers of log records with those that the client got.
func TestLoggedHeaders(t *testing.T) {
	gw := gatewaytest.New(t, []gateway.Plugin{filelog.New(filelog.Deps{})})
	r := newRigOn(t, gw, proxy.Config{})
	up := echo(t)
	r.route(up.URL, schema.Record{"methods": []any{"GET", "POST", "HEAD"}}, "/up")
	r.route("http://"+refusing(t), schema.Record{"retries": 2.0}, "/gone")
	file := t.TempDir() + "/log"
	gatewaytest.Create(t, gw, "plugins", schema.Record{"name": "file-log", "config": schema.Record{"path": file}})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	type seen struct {
		status  int
		headers http.Header
	}
	sent, retried := map[string]seen{}, map[string]string{
		"/up/1": "200", "/up/2": "200", "/up/3": "200", "/nowhere": "", "/gone": "502, 502, 502",
	}
	for _, base := range []string{"http://" + r.plain, "https://" + r.secure} {
		for _, q := range []struct{ method, path, body string }{
			{"GET", "/up/1", ""}, {"POST", "/up/2", strings.Repeat("x", 20_000)}, {"HEAD", "/up/3", ""}, {"GET", "/nowhere", ""}, {"GET", "/gone", ""},
		} {
			req, err := http.NewRequest(q.method, base+q.path, strings.NewReader(q.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if len(resp.TransferEncoding) > 0 { // the client takes it out
				resp.Header.Set("Transfer-Encoding", resp.TransferEncoding[0])
			}
			sent[base+q.path] = seen{resp.StatusCode, resp.Header}
		}
	}
	r.stop()
	gw.Close()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var rec struct {
			Request  struct{ URL, URI string }
			Response struct {
				Status  int
				Headers map[string]any
				Size    int
			}
			UpstreamStatus *string `json:"upstream_status"`
		}
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		want := sent[rec.Request.URL]
		var names []string
		for name := range want.headers {
			names = append(names, strings.ToLower(name))
		}
		slices.Sort(names)
		if got := slices.Sorted(maps.Keys(rec.Response.Headers)); !slices.Equal(got, names) || rec.Response.Status != want.status {
			t.Errorf("%s: logged %d %v\n   sent %d %v", rec.Request.URL, rec.Response.Status, got, want.status, names)
		}
		for _, name := range []string{"x-kong-request-id", "content-length", "via", "server"} {
			if v := want.headers.Get(name); v != "" && rec.Response.Headers[name] != v {
				t.Errorf("%s: %s is %v, sent %s", rec.Request.URL, name, rec.Response.Headers[name], v)
			}
		}
		if rec.UpstreamStatus == nil || *rec.UpstreamStatus != retried[rec.Request.URI] {
			t.Errorf("%s: upstream_status is %v, want %q", rec.Request.URL, rec.UpstreamStatus, retried[rec.Request.URI])
		}
		delete(sent, rec.Request.URL)
	}
	if len(sent) > 0 {
		t.Errorf("not logged: %v", sent)
	}
}
