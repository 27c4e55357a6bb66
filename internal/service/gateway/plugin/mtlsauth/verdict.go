package mtlsauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/responder"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxVerdicts bounds how many verdicts an instance keeps.
const maxVerdicts = 4096

// verdict is what became of the certificates of a client.
type verdict struct {
	presented []*x509.Certificate
	of        *gateway.Authorities
	until     time.Time
	err       error // why they were refused

	leaf        *x509.Certificate
	digest      string               // SHA-256 of the leaf
	authorities []*gateway.Authority // of the chain, the one it ends at first; nil, at last, stands for any
	subjects    []string
	dn, cn, san string
	pem         string // percent-encoded
}

func (v *verdict) group(byDN bool) string {
	if byDN {
		return v.dn
	}
	return v.cn
}

// judge verifies the certificates of clients and remembers the verdicts.
type judge struct {
	env        gateway.Env
	ids        []string // of the authorities; nil: all that are uploaded
	partial    bool
	ttl        time.Duration
	revocation *revocation // nil: not checked
	strict     bool

	trust  atomic.Pointer[trust]
	flight singleflight.Group
	mu     sync.RWMutex
	known  map[*x509.Certificate]*verdict // by leaf: crypto/tls shares equal certificates
}

// trust is the accepted authorities as x509 wants them.
type trust struct {
	of                   *gateway.Authorities
	roots, intermediates *x509.CertPool
}

func newJudge(c schema.Record, env gateway.Env, ids []string) *judge {
	j := &judge{env: env, known: map[*x509.Certificate]*verdict{}, ttl: fields.Duration(c, "cert_cache_ttl"), strict: c["revocation_check_mode"] == "STRICT"}
	j.partial, _ = c["allow_partial_chain"].(bool)
	if len(ids) > 0 {
		j.ids = ids
	}
	if c["revocation_check_mode"] != "SKIP" {
		j.revocation = newRevocation(c, env)
	}
	return j
}

// accepted returns those of all authorities that count here.
func (j *judge) accepted(all *gateway.Authorities) []*gateway.Authority {
	if j.ids == nil {
		return all.All()
	}
	var out []*gateway.Authority
	for _, id := range j.ids {
		if a := all.ByID(id); a != nil {
			out = append(out, a)
		}
	}
	return out
}

// verdict returns what became of the certificates a client presented, leaf first.
func (j *judge) verdict(ctx context.Context, presented []*x509.Certificate) *verdict {
	all := j.env.Directory.Authorities()
	j.mu.RLock()
	v := j.known[presented[0]]
	j.mu.RUnlock()
	if v != nil && v.of == all && j.env.Clock.Now().Before(v.until) && slices.Equal(v.presented, presented) {
		return v
	}
	h := sha256.New()
	fmt.Fprintf(h, "%p", all)
	for _, c := range presented {
		h.Write(c.Raw)
	}
	// Who waits for an OCSP responder shares the wait, and may leave without ending it.
	done := j.flight.DoChan(string(h.Sum(nil)), func() (any, error) {
		v := j.decide(context.WithoutCancel(ctx), all, presented)
		j.mu.Lock()
		if len(j.known) >= maxVerdicts {
			clear(j.known)
		}
		j.known[presented[0]] = v
		j.mu.Unlock()
		return v, nil
	})
	select {
	case r := <-done:
		return r.Val.(*verdict)
	case <-ctx.Done():
		return &verdict{err: ctx.Err()}
	}
}

func (j *judge) decide(ctx context.Context, all *gateway.Authorities, presented []*x509.Certificate) *verdict {
	now, leaf := j.env.Clock.Now(), presented[0]
	v := describe(leaf)
	v.presented, v.of, v.until = presented, all, now.Add(j.ttl)
	var chain []*x509.Certificate
	if chain, v.err = j.chain(all, presented, now); v.err == nil {
		for _, c := range slices.Backward(chain) {
			if c.NotAfter.Before(v.until) {
				v.until = c.NotAfter
			}
			sum := sha256.Sum256(c.Raw)
			if a := all.ByDigest(hex.EncodeToString(sum[:])); a != nil {
				v.authorities = append(v.authorities, a)
			}
		}
		v.authorities = append(v.authorities, nil)
		v.err = j.checkRevocation(ctx, chain)
	}
	if v.err != nil {
		j.env.Log.Warn("a client's certificate failed verification", "subject", v.dn, "sha256", v.digest, "err", v.err)
	}
	return v
}

// chain finds a way from the leaf to an authority.
func (j *judge) chain(all *gateway.Authorities, presented []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	t := j.trust.Load()
	if t == nil || t.of != all {
		t = &trust{all, x509.NewCertPool(), x509.NewCertPool()}
		for _, a := range j.accepted(all) {
			if j.partial || selfSigned(a.Cert) {
				t.roots.AddCert(a.Cert)
			} else {
				t.intermediates.AddCert(a.Cert)
			}
		}
		j.trust.Store(t)
	}
	between := t.intermediates
	if len(presented) > 1 {
		between = between.Clone()
		for _, c := range presented[1:] {
			between.AddCert(c)
		}
	}
	chains, err := presented[0].Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}

// checkRevocation asks about every certificate of the chain but the authority's.
func (j *judge) checkRevocation(ctx context.Context, chain []*x509.Certificate) error {
	if j.revocation == nil {
		return nil
	}
	for i, c := range chain[:len(chain)-1] {
		err := j.revocation.check(ctx, c, chain[i+1])
		switch {
		case err == nil:
		case errors.Is(err, responder.ErrRevoked):
			return err
		case errors.Is(err, errNowhere) && (i > 0 || !j.strict): // an intermediate may do without
		case j.strict:
			return err
		default:
			j.env.Log.Warn("whether a certificate is revoked could not be found out", "subject", c.Subject.String(), "err", err)
		}
	}
	return nil
}

// describe tells what is in a certificate.
func describe(leaf *x509.Certificate) *verdict {
	sum := sha256.Sum256(leaf.Raw)
	v := &verdict{leaf: leaf, digest: hex.EncodeToString(sum[:]), cn: printable(leaf.Subject.CommonName)}
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(leaf.RawSubject, &rdns); err == nil {
		v.dn = printable(rdns.String()) // in the order of RFC 4514, whatever is in it
	}
	for _, names := range [][]string{leaf.DNSNames, leaf.EmailAddresses} {
		v.subjects = append(v.subjects, names...)
	}
	for _, ip := range leaf.IPAddresses {
		v.subjects = append(v.subjects, ip.String())
	}
	for _, u := range leaf.URIs {
		v.subjects = append(v.subjects, u.String())
	}
	v.san = printable(strings.Join(v.subjects, ","))
	if v.subjects == nil && v.cn != "" {
		v.subjects = []string{leaf.Subject.CommonName}
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	v.pem = strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
	return v
}

// printable replaces what must not be in a header's value.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
