package hmacauth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/hmacauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var now = time.Unix(1_800_000_000, 0).UTC()

func header(headers, signed string) string {
	mac := hmac.New(sha256.New, []byte("shared"))
	mac.Write([]byte(signed))
	return `hmac username="bob", algorithm="hmac-sha256", headers="` + headers + `", signature="` +
		base64.StdEncoding.EncodeToString(mac.Sum(nil)) + `"`
}

func TestHMACAuth(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{hmacauth.New()}, func(d *gateway.Deps) { d.Clock = gatewaytest.NewClock(now) })
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "hmacauth_credentials", schema.Record{"username": "bob", "secret": "shared", "consumer": gatewaytest.Consumer(t, g, "robert")})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "hmac-auth", "config": schema.Record{
		"enforce_headers": []any{"date", "request-line"}, "validate_request_body": true, "algorithms": []any{"hmac-sha256"}, "hide_credentials": true}})
	date := now.Format(http.TimeFormat)
	late := now.Add(-301 * time.Second).Format(http.TimeFormat)
	line := "GET /a?b=c HTTP/1.1"
	both := header("date request-line", "date: "+date+"\n"+line)
	sum := sha256.Sum256([]byte("hello"))
	digest := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	posted := header("date request-line digest", "date: "+date+"\nPOST /a?b=c HTTP/1.1\ndigest: "+digest)
	const unverified, mismatch = "HMAC signature cannot be verified", "HMAC signature does not match"
	for name, c := range map[string]struct {
		header  []string
		method  string
		body    string
		message string
	}{
		"right":               {header: []string{"Date", date, "Authorization", both}},
		"proxy":               {header: []string{"Date", date, "Proxy-Authorization", both}},
		"body":                {header: []string{"Date", date, "Digest", digest, "Authorization", posted}, method: "POST", body: "hello"},
		"host":                {header: []string{"Date", date, "Authorization", header("date request-line host", "date: "+date+"\n"+line+"\nhost: example.com:81")}},
		"none":                {header: []string{"Date", date}, message: "Unauthorized"},
		"no date":             {header: []string{"Authorization", both}, message: unverified + ", a valid date or x-date header is required for HMAC Authentication"},
		"old":                 {header: []string{"Date", late, "Authorization", header("date request-line", "date: "+late+"\n"+line)}, message: unverified + ", a valid date or x-date header is required for HMAC Authentication"},
		"enforced header":     {header: []string{"Date", date, "Authorization", header("date", "date: "+date)}, message: unverified},
		"absent header":       {header: []string{"Date", date, "Authorization", header("date request-line x", "date: "+date+"\n"+line+"\nx:")}},
		"absent with a space": {header: []string{"Date", date, "Authorization", header("date request-line x", "date: "+date+"\n"+line+"\nx: ")}, message: mismatch},
		"present as absent":   {header: []string{"Date", date, "X", "1", "Authorization", header("date request-line x", "date: "+date+"\n"+line+"\nx:")}, message: mismatch},
		"request target":      {header: []string{"Date", date, "Authorization", header("date request-line @request-target", "date: "+date+"\n"+line+"\n@request-target: get /a?b=c")}},
		"bare request target": {header: []string{"Date", date, "Authorization", header("date request-line @request-target", "date: "+date+"\n"+line+"\nget /a?b=c")}, message: mismatch},
		"not a signature":     {header: []string{"Date", date, "Authorization", "Basic x"}, message: unverified},
		"another path":        {header: []string{"Date", date, "Authorization", header("date request-line", "date: "+date+"\nGET /x HTTP/1.1")}, message: mismatch},
		"another body":        {header: []string{"Date", date, "Digest", digest, "Authorization", posted}, method: "POST", body: "hullo", message: mismatch},
		"body without digest": {header: []string{"Date", date, "Authorization", header("date request-line", "date: "+date+"\nPOST /a?b=c HTTP/1.1")}, method: "POST", body: "x", message: mismatch},
	} {
		got := gatewaytest.Do(g, gatewaytest.Request{Method: c.method, Target: "/a?b=c", Host: "example.com:81", Header: append(c.header, "X-Pad", "1"), Body: c.body, Minor: 1})
		switch {
		case c.message == "":
			if got.Status != 0 || got.Consumer != "robert" || got.Upstream.Get("X-Credential-Identifier") != "bob" || got.Upstream.Get("Authorization") != "" {
				t.Errorf("%s: %+v", name, got)
			}
		case got.Status != 401 || !gatewaytest.Says(got, c.message) || got.Header.Get("WWW-Authenticate") != "hmac":
			t.Errorf("%s: %+v", name, got)
		}
	}
}
