package acme

import (
	"context"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// admin is the paths of the Admin API. They mean the one instance there is.
func (k *kind) admin() []gateway.AdminEndpoint {
	type methods = map[string]func(gateway.AdminRequest) gateway.AdminAnswer
	return []gateway.AdminEndpoint{
		{Path: "/acme", Methods: methods{"POST": k.with((*instance).create), "PATCH": k.with((*instance).renewNow)}},
		{Path: "/acme/certificates", Methods: methods{"GET": k.with((*instance).list)}},
		{Path: "/acme/certificates/{host}", Methods: methods{"GET": k.with((*instance).show)}},
	}
}

func says(status int, format string, args ...any) gateway.AdminAnswer {
	return gateway.AdminAnswer{Status: status, Body: schema.Record{"message": fmt.Sprintf(format, args...)}}
}

func (k *kind) with(serve func(*instance, gateway.AdminRequest) gateway.AdminAnswer) func(gateway.AdminRequest) gateway.AdminAnswer {
	return func(r gateway.AdminRequest) gateway.AdminAnswer {
		k.mu.Lock()
		var in *instance
		for _, in = range k.instances {
			break
		}
		k.mu.Unlock()
		if in == nil {
			return says(404, "Not found")
		}
		return serve(in, r)
	}
}

// create obtains a certificate, or tests the way of the challenge.
func (in *instance) create(r gateway.AdminRequest) gateway.AdminAnswer {
	host, _ := r.Body["host"].(string)
	host = strings.ToLower(host)
	switch test := r.Body["test_http_challenge_flow"]; {
	case host == "":
		return says(400, "host must be provided and containing a single domain")
	case strings.Contains(host, ":"):
		return says(400, "port is not allowed in host")
	case test == true || test == "true":
		return in.test(r.Context, host)
	case !in.allows(host):
		return says(400, "host %s is not included in plugin config.domains", host)
	case !in.claim(host):
		return says(409, "failed to update certificate: %s", errUnderWay)
	}
	defer in.release(host)
	ctx, cancel := context.WithTimeout(r.Context, orderTimeout)
	defer cancel()
	defer context.AfterFunc(in.ctx, cancel)()
	switch err := in.update(ctx, host, func() bool { return true }); {
	case errors.Is(err, errUnderWay):
		return says(409, "failed to update certificate: %s", err)
	case err != nil:
		return says(500, "failed to update certificate: %s", err)
	}
	return says(201, "certificate for host %s is created", host)
}

// testTimeout bounds a test of the challenge's way, and maxTestBody what is read of it.
const (
	testTimeout = 10 * time.Second
	maxTestBody = 1 << 10
)

func (in *instance) test(ctx context.Context, host string) gateway.AdminAnswer {
	failed := func(format string, args ...any) gateway.AdminAnswer {
		return says(400, "problem found running sanity check for %s: %s", host, fmt.Sprintf(format, args...))
	}
	if !in.allows(host) {
		return failed("host is not included in plugin config.domains")
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+challengePath+"x", nil)
	if err != nil {
		return failed("%s", err)
	}
	client := *in.kind.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	got, err := client.Do(req)
	if err != nil {
		return failed("%s", err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(io.LimitReader(got.Body, maxTestBody))
	switch {
	case err != nil:
		return failed("%s", err)
	case string(body) != "Not found\n" && got.StatusCode != 404:
		return failed("unexpected response: %q, unexpected status code: %d", body, got.StatusCode)
	case string(body) != "Not found\n":
		return failed("unexpected response: %q", body)
	}
	return says(200, "sanity test for host %s passed", host)
}

// renewNow begins to renew, and does not wait for it.
func (in *instance) renewNow(gateway.AdminRequest) gateway.AdminAnswer {
	select {
	case in.wake <- struct{}{}:
	default: // it is about to begin
	}
	return says(202, "Renewal process started successfully")
}

func (in *instance) list(r gateway.AdminRequest) gateway.AdminAnswer {
	data := []any{}
	for host, leaf := range in.managed() {
		d := in.describe(host, leaf)
		if invalid := r.Query.Get("invalid_only"); invalid == "" || invalid == "false" || d["valid"] == false {
			data = append(data, d)
		}
	}
	return gateway.AdminAnswer{Status: 200, Body: schema.Record{"data": data}}
}

func (in *instance) show(r gateway.AdminRequest) gateway.AdminAnswer {
	for host, leaf := range in.managed() {
		if host == r.Params["host"] {
			return gateway.AdminAnswer{Status: 200, Body: schema.Record{"data": in.describe(host, leaf)}}
		}
	}
	return says(404, "Certificate for host %s not found in storage", r.Params["host"])
}

func (in *instance) describe(host string, leaf *x509.Certificate) schema.Record {
	const form = "2006-01-02 15:04:05"
	now, digest := in.env.Clock.Now(), sha1.Sum(leaf.Raw)
	kind := "rsaEncryption"
	if leaf.PublicKeyAlgorithm == x509.ECDSA {
		kind = "id-ecPublicKey"
	}
	return schema.Record{
		"host": host, "issuer_cn": leaf.Issuer.CommonName, "digest": pairs(digest[:]), "serial_number": pairs(leaf.SerialNumber.Bytes()),
		"not_before": leaf.NotBefore.UTC().Format(form), "not_after": leaf.NotAfter.UTC().Format(form),
		"valid": leaf.NotBefore.Before(now) && leaf.NotAfter.After(now), "pubkey_type": kind,
	}
}

// pairs writes bytes as pairs of digits with colons between.
func pairs(b []byte) string { return strings.ReplaceAll(fmt.Sprintf("% X", b), " ", ":") }
