package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/requestsize"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestRequestSize sends bodies of known and unknown length, over both engines.
func TestRequestSize(t *testing.T) {
	upstream := echo(t)
	r := newRig(t, proxy.Config{BufferBody: 512}, requestsize.New())
	r.route(upstream.URL, nil, "/")
	plugin := gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "request-size-limiting",
		"config": schema.Record{"allowed_payload_size": 1.0, "size_unit": "kilobytes"}})
	post := func(c *http.Client, url string, size int, known bool, header ...string) (int, string) {
		var body io.Reader = strings.NewReader(strings.Repeat("x", size))
		if !known {
			body = struct{ io.Reader }{body}
		}
		req, _ := http.NewRequest("POST", url, body)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		out, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(out)
	}
	for name, url := range map[string]string{"http1": "http://" + r.plain, "http2": "https://" + r.secure} {
		c := &http.Client{}
		if name == "http2" {
			c = h2Client(t)
		}
		for _, known := range []bool{true, false} {
			if status, body := post(c, url, 1024, known); status != 200 || !strings.HasSuffix(body, "xxx") {
				t.Errorf("%s known %v: %d %s", name, known, status, body)
			}
			for _, size := range []int{1025, 100_000} {
				if status, body := post(c, url, size, known); status != 413 || !strings.Contains(body, "Request size limit exceeded") {
					t.Errorf("%s known %v, %d bytes: %d %s", name, known, size, status, body)
				}
			}
		}
	}
	if status, _ := post(&http.Client{}, "http://"+r.plain, 2000, true, "Expect", "100-continue"); status != 417 {
		t.Errorf("with Expect: %d", status)
	}
	e, _ := r.gw.Entity("plugins")
	if _, err := r.gw.Patch(t.Context(), e, plugin["id"].(string), schema.Record{"config": schema.Record{"require_content_length": true}}); err != nil {
		t.Fatal(err)
	}
	if status, body := post(&http.Client{}, "http://"+r.plain, 10, false); status != 411 || !strings.Contains(body, "A valid Content-Length header is required") {
		t.Errorf("%d %s", status, body)
	}
}
