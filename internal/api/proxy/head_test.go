package proxy_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/transformer"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// HEAD must not promise a length that GET does not have: a plugin changes the body.
func TestHeadOfChangedBodies(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "7")
		io.WriteString(w, `{"a":1}`)
	}))
	defer up.Close()
	for name, c := range map[string]struct {
		config schema.Record
		length int64
	}{
		"body":    {schema.Record{"add": schema.Record{"json": []any{"b:2"}}}, -1},
		"headers": {schema.Record{"add": schema.Record{"headers": []any{"b:2"}}}, 7},
	} {
		r := newRig(t, proxy.Config{}, transformer.NewResponse())
		r.route(up.URL, schema.Record{"methods": []any{"GET", "HEAD"}}, "/")
		gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "response-transformer", "config": c.config})
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true}
		defer transport.CloseIdleConnections()
		for _, base := range []string{"http://" + r.plain, "https://" + r.secure} {
			for _, method := range []string{"GET", "HEAD"} {
				req, err := http.NewRequest(method, base, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.ContentLength != c.length || (resp.Header.Get("Content-Length") == "") != (c.length < 0) {
					t.Errorf("%s, %s %s: length %d %q, want %d", name, method, resp.Proto, resp.ContentLength, resp.Header.Get("Content-Length"), c.length)
				}
			}
		}
	}
}
