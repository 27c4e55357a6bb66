package balancer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// ProbeKind is the protocol of a probe.
type ProbeKind uint8

// The kinds of probe.
const (
	ProbeHTTP ProbeKind = iota
	ProbeHTTPS
	ProbeTCP
	ProbeGRPC
	ProbeGRPCS
)

// Prober asks an address how it is. status is an HTTP status, 0 where a connection is all
// there is to see; err says that there was no answer.
type Prober interface {
	Probe(ctx context.Context, p *Probing, a *Address) (status int, err error)
}

// probeLoop probes the addresses at their intervals: the healthy at one, the unhealthy at
// another.
func (u *Upstream) probeLoop() {
	last := map[bool]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-u.reprobe:
		case <-timer.C:
		}
		p := &u.Config().Checks.Active
		next := time.Hour
		var due []*Address
		for _, up := range []bool{true, false} {
			interval := p.UnhealthyInterval
			if up {
				interval = p.HealthyInterval
			}
			if interval <= 0 {
				continue
			}
			now := u.deps.Clock.Now()
			if last[up].IsZero() {
				last[up] = now // the first round comes after the first interval
			}
			if wait := interval - now.Sub(last[up]); wait > 0 {
				next = min(next, wait)
				continue
			}
			last[up] = now
			next = min(next, interval)
			for _, a := range u.table.Load().addresses {
				if a.Healthy() == up {
					due = append(due, a)
				}
			}
		}
		u.probeAll(p, due)
		timer.Reset(next)
	}
}

func (u *Upstream) probeAll(p *Probing, due []*Address) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, min(max(p.Concurrency, 1), 256))
	for _, a := range due {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			u.probe(p, a)
		})
	}
	wg.Wait()
}

func (u *Upstream) probe(p *Probing, a *Address) {
	ctx, cancel := context.WithTimeout(u.ctx, p.Timeout)
	defer cancel()
	status, err := u.deps.Prober.Probe(ctx, p, a)
	if u.ctx.Err() != nil {
		return
	}
	o, known := success, true
	switch {
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || isTimeout(err)):
		o = timedOut
	case err != nil:
		o = tcpFailure
	case status != 0:
		o, known = p.outcomeOf(status)
	}
	if known && a.report(o, &p.Rules) {
		u.healthChanged(a, "probes")
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// network probes over the network, on a connection of its own each time.
type network struct{}

// Probe implements Prober.
func (network) Probe(ctx context.Context, p *Probing, a *Address) (int, error) {
	var d net.Dialer
	if p.Kind == ProbeTCP {
		c, err := d.DialContext(ctx, "tcp", a.Addr.String())
		if err != nil {
			return 0, err
		}
		return 0, c.Close()
	}
	secure, h2 := p.Kind == ProbeHTTPS || p.Kind == ProbeGRPCS, p.Kind == ProbeGRPC || p.Kind == ProbeGRPCS
	sni := p.SNI
	if host, _, err := net.SplitHostPort(a.Name); err == nil && sni == "" {
		sni = host
	} else if sni == "" {
		sni = a.Name
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2 && secure)
	protocols.SetUnencryptedHTTP2(h2 && !secure)
	t := &http.Transport{
		DisableKeepAlives: !h2, DisableCompression: true, Protocols: protocols, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", a.Addr.String())
		},
		TLSClientConfig: &tls.Config{ServerName: sni, InsecureSkipVerify: !p.Verify, MinVersion: tls.VersionTLS12},
	}
	defer t.CloseIdleConnections()
	scheme, method, path, body := "http", http.MethodGet, p.Path, io.Reader(nil)
	if secure {
		scheme = "https"
	}
	if h2 {
		method, path, body = http.MethodPost, "/grpc.health.v1.Health/Check", bytes.NewReader(make([]byte, 5)) // an empty message
	}
	r, err := http.NewRequestWithContext(ctx, method, scheme+"://"+a.Addr.String()+path, body)
	if err != nil {
		return 0, err
	}
	if h2 {
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("TE", "trailers")
	}
	r.Host = a.HostHeader(secure)
	for _, h := range p.Headers {
		if http.CanonicalHeaderKey(h[0]) == "Host" {
			r.Host = h[1]
		} else {
			r.Header.Add(h[0], h[1])
		}
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if h2 && resp.StatusCode == http.StatusOK {
		return grpcHealth(resp)
	}
	return resp.StatusCode, nil
}

// grpcHealth reads the answer of gRPC's health service as an HTTP status. A server that
// does not have the service is alive, at least.
func grpcHealth(resp *http.Response) (int, error) {
	message, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	if err != nil {
		return 0, err
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status")
	}
	const unimplemented = "12"
	serving := []byte{0x08, 0x01} // field 1, status, is SERVING
	if status == unimplemented || status == "0" && len(message) > 5 && bytes.HasPrefix(message[5:], serving) {
		return http.StatusOK, nil
	}
	return http.StatusServiceUnavailable, nil
}
