package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
)

// transfer2 is an asker by net/http: of upstreams of HTTP/1, for bodies that stream.
type transfer2 struct {
	p    *Proxy
	out  *http.Request
	resp *http.Response
}

func (p *Proxy) newTransfer(ctx context.Context, x *gateway.Exchange, moving *movingBody) *transfer2 {
	out := (&http.Request{
		Method: x.Request.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Scheme: map[bool]string{true: "https", false: "http"}[x.Upstream.Service.TLS()],
			Opaque: string(gateway.AppendTarget(nil, x.Upstream.Path, "", false)), RawQuery: strings.Clone(x.Request.RawQuery),
			ForceQuery: x.Request.HasQuery},
		Header: http.Header{},
	}).WithContext(ctx)
	upstreamFields(x, func(name, value string) { out.Header.Add(name, strings.Clone(value)) })
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // the transport would name itself
	}
	out.Body, out.ContentLength = moving, x.Request.Length
	return &transfer2{p: p, out: out}
}

func (t *transfer2) ask(x *gateway.Exchange) (answer, error) {
	resp, err := t.p.h2out.roundTrip(t.out, x)
	if err != nil {
		return answer{}, err
	}
	t.resp = resp
	x.Response.Header.Reset()
	each(resp.Header, func(name, value string) bool {
		if name != "Content-Length" { // it is Response.Length
			x.Response.Header.AddValid(name, value)
		}
		return true
	})
	return answer{status: resp.StatusCode, length: resp.ContentLength, body: resp.Body,
		trailer: func(yield func(name, value string) bool) { each(resp.Trailer, yield) }}, nil
}

func (t *transfer2) close() {
	if t.resp != nil {
		t.resp.Body.Close()
	}
}

func each(h http.Header, yield func(name, value string) bool) {
	for name, values := range h {
		for _, v := range values {
			if !yield(name, v) {
				return
			}
		}
	}
}
