package mtlsauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/responder"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Bounds of what is fetched and kept.
const (
	maxCRL  = 16 << 20
	maxCRLs = 32 // lists kept
	maxSkew = 5 * time.Minute
)

var errNowhere = errors.New("the certificate names no OCSP responder and no CRL")

// revocation asks OCSP responders and CRLs.
type revocation struct {
	clock   clock.Clock
	timeout time.Duration
	ttl     time.Duration
	client  *http.Client

	mu   sync.Mutex
	crls map[string]*crl // by URL and issuer
}

// crl is a list that was fetched and verified.
type crl struct {
	until   time.Time
	serials map[string]bool
}

func newRevocation(c schema.Record, env gateway.Env) *revocation {
	verify, _ := c["ssl_verify"].(bool)
	via := func(scheme string) *url.URL {
		host, _ := c[scheme+"_proxy_host"].(string)
		port, _ := c[scheme+"_proxy_port"].(float64)
		if host == "" {
			return nil
		}
		return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))}
	}
	proxies := map[string]*url.URL{"http": via("http"), "https": via("https")}
	return &revocation{
		clock: env.Clock, timeout: fields.Duration(c, "http_timeout"), ttl: fields.Duration(c, "cert_cache_ttl"), crls: map[string]*crl{},
		client: &http.Client{Transport: &http.Transport{
			Proxy:           func(r *http.Request) (*url.URL, error) { return proxies[r.URL.Scheme], nil },
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !verify},
			MaxIdleConns:    8, IdleConnTimeout: 30 * time.Second,
		}},
	}
}

// check returns nil where a certificate is not revoked, responder.ErrRevoked where it is, and any
// other error where that cannot be found out.
func (r *revocation) check(ctx context.Context, c, issuer *x509.Certificate) error {
	var errs []error
	for _, u := range c.OCSPServer {
		err := r.askOCSP(ctx, u, c, issuer)
		if err == nil || errors.Is(err, responder.ErrRevoked) {
			return err
		}
		errs = append(errs, fmt.Errorf("OCSP %s: %w", u, err))
	}
	for _, u := range c.CRLDistributionPoints {
		err := r.askCRL(ctx, u, c, issuer)
		if err == nil || errors.Is(err, responder.ErrRevoked) {
			return err
		}
		errs = append(errs, fmt.Errorf("CRL %s: %w", u, err))
	}
	if errs == nil {
		return errNowhere
	}
	return errors.Join(errs...)
}

func (r *revocation) askOCSP(ctx context.Context, where string, c, issuer *x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	_, err := responder.Ask(ctx, r.client, where, c, issuer, r.clock.Now())
	return err
}

func (r *revocation) askCRL(ctx context.Context, where string, c, issuer *x509.Certificate) error {
	key := where + "\x00" + string(issuer.Raw)
	r.mu.Lock()
	list := r.crls[key]
	r.mu.Unlock()
	if list == nil || !r.clock.Now().Before(list.until) {
		var err error
		if list, err = r.fetchCRL(ctx, where, issuer); err != nil {
			return err
		}
		r.mu.Lock()
		if len(r.crls) >= maxCRLs {
			clear(r.crls)
		}
		r.crls[key] = list
		r.mu.Unlock()
	}
	if list.serials[string(c.SerialNumber.Bytes())] {
		return responder.ErrRevoked
	}
	return nil
}

func (r *revocation) fetchCRL(ctx context.Context, where string, issuer *x509.Certificate) (*crl, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	raw, err := responder.Fetch(ctx, r.client, http.MethodGet, where, nil, maxCRL)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	parsed, err := x509.ParseRevocationList(raw)
	if err != nil {
		return nil, err
	}
	if err := parsed.CheckSignatureFrom(issuer); err != nil {
		return nil, err
	}
	now := r.clock.Now()
	if !parsed.NextUpdate.IsZero() && parsed.NextUpdate.Before(now.Add(-maxSkew)) {
		return nil, errors.New("the list is out of date")
	}
	list := &crl{until: now.Add(r.ttl), serials: make(map[string]bool, len(parsed.RevokedCertificateEntries))}
	if !parsed.NextUpdate.IsZero() && parsed.NextUpdate.Before(list.until) {
		list.until = parsed.NextUpdate
	}
	for _, e := range parsed.RevokedCertificateEntries {
		const removed = 8 // a certificate taken off hold, RFC 5280 5.3.1
		if e.ReasonCode != removed {
			list.serials[string(e.SerialNumber.Bytes())] = true
		}
	}
	return list, nil
}
