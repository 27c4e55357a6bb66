package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// actor is a plugin of one Responder, or one Accessor that streams.
type actor struct {
	response func(x *gateway.Exchange)
}

func (a actor) Response(x *gateway.Exchange) { a.response(x) }

type streamer struct{ pieces io.ReadCloser }

func (s streamer) Access(x *gateway.Exchange) {
	x.RespondStream(200, s.pieces, gateway.Field{Name: "Content-Type", Value: "text/event-stream"})
}

func kindOf(name string, instance any) gateway.Plugin {
	return gateway.Plugin{Name: name, Priority: 1, Config: &schema.Field{},
		New: func(schema.Record, gateway.Env) (any, error) { return instance, nil }}
}

func h2Client(t testing.TB) *http.Client {
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// both calls a client of HTTP/1.1 and one of HTTP/2.
func both(t *testing.T, r *rig, path string, check func(t *testing.T, resp *http.Response, body string)) {
	t.Helper()
	for name, c := range map[string]*http.Client{"http1": {}, "http2": h2Client(t)} {
		t.Run(name, func(t *testing.T) {
			url := "http://" + r.plain
			if name == "http2" {
				url = "https://" + r.secure
			}
			resp, err := c.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			check(t, resp, string(body))
		})
	}
}

func TestWholeAnswers(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-From", "upstream")
		if q.URL.Path == "/large" {
			w.Write(bytes.Repeat([]byte("x"), 4096))
			return
		}
		fmt.Fprint(w, "hel")
		w.(http.Flusher).Flush() // chunked
		fmt.Fprint(w, "lo")
	}))
	defer upstream.Close()
	for _, c := range []struct {
		name, path, body, from string
		status                 int
		act                    func(x *gateway.Exchange)
	}{
		{"changed", "/", "HELLO", "upstream", 201, func(x *gateway.Exchange) {
			x.Response.Status, x.Response.Body = 201, bytes.ToUpper(x.Response.Body)
		}},
		{"untouched", "/", "hello", "upstream", 200, func(x *gateway.Exchange) {}},
		{"replaced", "/", "mine", "", 418, func(x *gateway.Exchange) { x.Respond(418, []byte("mine")) }},
		{"too large", "/large", "An invalid response was received from the upstream server", "", 502, func(x *gateway.Exchange) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, proxy.Config{BufferAnswer: 1024}, kindOf("actor", actor{c.act}))
			r.route(upstream.URL, nil, "/")
			gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "actor"})
			both(t, r, c.path, func(t *testing.T, resp *http.Response, body string) {
				if resp.StatusCode != c.status || !strings.Contains(body, c.body) || resp.Header.Get("X-From") != c.from {
					t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
				}
				if resp.ContentLength != int64(len(body)) {
					t.Errorf("Content-Length %d for %d bytes", resp.ContentLength, len(body))
				}
			})
		})
	}
}

// TestStreamedReply checks that a plugin's answer goes out piece by piece: each piece is
// written only when the client has the one before.
func TestStreamedReply(t *testing.T) {
	for _, name := range []string{"http1", "http2"} {
		t.Run(name, func(t *testing.T) {
			out, in := io.Pipe()
			r := newRig(t, proxy.Config{}, kindOf("streamer", streamer{out}))
			gatewaytest.Create(t, r.gw, "routes", schema.Record{"paths": []any{"/"}})
			gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "streamer"})
			client, url := &http.Client{}, "http://"+r.plain
			if name == "http2" {
				client, url = h2Client(t), "https://"+r.secure
			}
			resp, err := client.Get(url + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got := make([]byte, 3)
			for _, piece := range []string{"one", "two"} {
				if _, err := in.Write([]byte(piece)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != piece {
					t.Fatalf("%q %v", got, err)
				}
			}
			in.Close()
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
				t.Errorf("%q %v", rest, err)
			}
		})
	}
}
