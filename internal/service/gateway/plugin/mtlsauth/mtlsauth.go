package mtlsauth

import (
	"context"
	"encoding/hex"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// mappings is the collection of consumers by subject.
const mappings = "mtls_auth_credentials"

// New returns the kind.
func New() gateway.Plugin {
	ids := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, LenMin: schema.Ptr(1), Description: description,
			Elements: &schema.Field{Kind: schema.String, UUID: true, Reference: "ca_certificates"}}
	}
	oneOf := func(name, description string, values ...any) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Default: values[0], OneOf: values, Description: description}
	}
	number := func(name, description string, by int) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Number, Default: by, Between: []float64{0, 1e9}, Description: description}
	}
	host := func(name string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Description: "Host of the proxy to OCSP responders and CRLs."}
	}
	port := func(name string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Integer, Between: []float64{0, 65535}, Description: "Port of the proxy."}
	}
	return gateway.Plugin{
		Name: "mtls-auth", Version: gateway.Version, Priority: 1600, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{Fields: []*schema.Field{
			auth.Anonymous(),
			{Name: "consumer_by", Kind: schema.Array, Default: []any{"username", "custom_id"},
				Description: "What of a consumer is compared with the certificate's subjects.",
				Elements:    &schema.Field{Kind: schema.String, OneOf: []any{"username", "custom_id"}}},
			ids("ca_certificates", "The authorities that are trusted."),
			number("cache_ttl", "Seconds; consumers are looked up anew for every request.", 60),
			schema.Flag("skip_consumer_lookup", "Require no consumer; the certificate tells a group.", false),
			schema.Flag("allow_partial_chain", "Trust an authority that has not signed itself.", false),
			oneOf("authenticated_group_by", "What of the subject is the group.", "CN", "DN"),
			oneOf("revocation_check_mode", "What to do about certificates that may be revoked.", "IGNORE_CA_ERROR", "SKIP", "STRICT"),
			number("http_timeout", "Milliseconds for an OCSP responder or a CRL to answer.", 30000),
			number("cert_cache_ttl", "Milliseconds for which a verdict holds.", 60000),
			host("http_proxy_host"), port("http_proxy_port"), host("https_proxy_host"), port("https_proxy_port"),
			schema.Flag("send_ca_dn", "Tell clients the names of the authorities in the handshake.", false),
			{Name: "default_consumer", Kind: schema.String, Description: "Consumer, by id or username, of certificates that have none."},
			schema.Flag("ssl_verify", "Verify OCSP responders and CRL servers that are reached by HTTPS.", false),
			{Name: "san_dirname_matcher", Kind: schema.Array, Default: []any{}, Unserved: "matching directory names is not served yet",
				Elements: &schema.Field{Kind: schema.String}},
			ids("trusted_certificate_ids", "An earlier name of ca_certificates; no consumer is needed."),
			{Name: "allow_any_client_cert", Kind: schema.Boolean, Description: "Every certificate of the authorities will do; no consumer is needed."},
			{Name: "allowed_client_certificates", Kind: schema.Array, LenMin: schema.Ptr(1),
				Description: "The certificates that will do, by id of a certificates entity or SHA-256 digest; no consumer is needed.",
				Elements:    &schema.Field{Kind: schema.String, Check: checkCertificate}},
			{Name: "pass_client_cert", Kind: schema.Boolean, Description: "Tell the upstream the certificate."},
		}},
		Checks: []schema.Check{
			{AllOrNone: []string{"config.http_proxy_host", "config.http_proxy_port"}},
			{AllOrNone: []string{"config.https_proxy_host", "config.https_proxy_port"}},
			{MutuallyExclusive: []string{"config.ca_certificates", "config.trusted_certificate_ids"}},
			{Custom: func(r schema.Record, bad func(field, msg string)) {
				if schema.At(r, "config.allow_any_client_cert") == true && !schema.Empty(schema.At(r, "config.allowed_client_certificates")) {
					bad("config.allowed_client_certificates", "must not be set where allow_any_client_cert is true")
				}
			}},
		},
		Entities: []*schema.Entity{auth.Credential(
			schema.Entity{Name: mappings, Path: "mtls-auths", NestedPath: "mtls-auth", UniqueTogether: []string{"subject_name", "ca_certificate"}},
			&schema.Field{Name: "subject_name", Kind: schema.String, Required: true,
				Description: "A subject alternative name, or a common name where a certificate has none of those."},
			&schema.Field{Name: "ca_certificate", Kind: schema.Foreign, Reference: "ca_certificates",
				Description: "The authority the certificate must be of."},
		)},
		New: newInstance,
	}
}

func checkCertificate(v any) string {
	if s := v.(string); !schema.IsUUID(s) && digestOf(s) == "" {
		return "expected the id of a certificate, or its SHA-256 digest in hexadecimal digits"
	}
	return ""
}

// digestOf returns a SHA-256 digest in lower case without colons, "" for anything else.
func digestOf(s string) string {
	s = strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if raw, err := hex.DecodeString(s); err != nil || len(raw) != 32 {
		return ""
	}
	return s
}

// instance is one configuration.
type instance struct {
	env       gateway.Env
	judge     *judge
	only      []string // ids or digests of the certificates that will do; nil: all
	tellNames bool
	pass      bool
	skip      bool
	byDN      bool
	consumer  bool // a certificate needs one
	by        []string
	fallback  string // consumer of certificates that have none
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	flag := func(name string) bool { v, _ := c[name].(bool); return v }
	in := &instance{
		env: env, tellNames: flag("send_ca_dn"), pass: flag("pass_client_cert"), skip: flag("skip_consumer_lookup"),
		byDN: c["authenticated_group_by"] == "DN", by: schema.Strings(c["consumer_by"]),
	}
	in.fallback, _ = c["default_consumer"].(string)
	authorities := schema.Strings(c["ca_certificates"])
	for _, v := range schema.Strings(c["allowed_client_certificates"]) {
		if d := digestOf(v); d != "" {
			v = d
		}
		in.only = append(in.only, v)
	}
	in.consumer = len(authorities) > 0 && !flag("allow_any_client_cert") && in.only == nil
	if len(authorities) == 0 {
		authorities = schema.Strings(c["trusted_certificate_ids"])
	}
	in.judge = newJudge(c, env, authorities)
	return &gate{auth.NewGate(in, c, env), in}, nil
}

// gate is the instance as the gateway sees it.
type gate struct {
	*auth.Gate
	in *instance
}

// AskCertificate implements gateway.CertificateAsker.
func (g *gate) AskCertificate(all *gateway.Authorities) ([]*gateway.Authority, bool) {
	return g.in.judge.accepted(all), g.in.tellNames
}

// Access implements gateway.Accessor. Whatever becomes of the request, what it says about
// certificates itself goes no further.
func (g *gate) Access(x *gateway.Exchange) {
	for _, name := range []string{headerCert, headerDN, headerSAN} {
		x.Request.Header.Del(name)
	}
	g.Gate.Access(x)
}

// Close implements gateway.Closer.
func (g *gate) Close(context.Context) error {
	if r := g.in.judge.revocation; r != nil {
		r.client.CloseIdleConnections()
	}
	return nil
}

// Headers that tell the upstream about the certificate.
const (
	headerCert = "X-Client-Cert" // PEM, percent-encoded
	headerDN   = "X-Client-Cert-Dn"
	headerSAN  = "X-Client-Cert-San"
)

var (
	missing = &auth.Failure{Message: "No required TLS certificate was sent"}
	refused = &auth.Failure{Message: "TLS certificate failed verification"}
)

// Authenticate implements auth.Method.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	if x.Conn.TLS == nil || len(x.Conn.TLS.PeerCertificates) == 0 {
		return missing
	}
	v := in.judge.verdict(x.Context(), x.Conn.TLS.PeerCertificates)
	if v.err != nil || !in.allows(v) {
		return refused
	}
	if !in.skip && !in.identify(x, v) && in.consumer {
		in.env.Log.Warn("a client's certificate leads to no consumer", "subject", v.dn, "request_id", x.ID())
		return refused
	}
	h := &x.Request.Header
	if in.pass {
		h.Set(headerCert, v.pem)
	}
	if in.pass || in.skip {
		h.Set(headerDN, v.dn)
		if v.san != "" {
			h.Set(headerSAN, v.san)
		}
	}
	if in.skip {
		if group := v.group(in.byDN); group != "" {
			x.SetGroups([]string{group})
		}
	}
	return nil
}

// allows reports whether a certificate is among those that will do.
func (in *instance) allows(v *verdict) bool {
	if in.only == nil {
		return true
	}
	for _, want := range in.only {
		if want == v.digest {
			return true
		}
		for _, leaf := range in.env.Directory.Leaves(want) {
			if leaf.Equal(v.leaf) {
				return true
			}
		}
	}
	in.env.Log.Warn("a client's certificate is not among the allowed ones", "subject", v.dn, "sha256", v.digest)
	return false
}

// identify authenticates the exchange as the certificate's consumer; false where there is
// none.
func (in *instance) identify(x *gateway.Exchange, v *verdict) bool {
	d := in.env.Directory
	for _, authority := range v.authorities {
		var ref any
		if authority != nil {
			ref = schema.Record{"id": authority.ID}
		}
		for _, subject := range v.subjects {
			m, ok := d.ByTogether(mappings, schema.Record{"subject_name": subject, "ca_certificate": ref})
			if ok && auth.Accept(x, d, m, subject) {
				return true
			}
		}
	}
	for _, subject := range v.subjects {
		for _, by := range in.by {
			if r, ok := d.ByUnique("consumers", by, subject); ok {
				return in.accept(x, r["id"], subject)
			}
		}
	}
	return in.fallback != "" && in.accept(x, in.fallback, v.dn)
}

func (in *instance) accept(x *gateway.Exchange, consumer any, subject string) bool {
	id, _ := consumer.(string)
	c, ok := in.env.Directory.Consumer(id)
	if !ok {
		return false
	}
	x.Authenticate(c, &gateway.Credential{ConsumerID: c.ID, Identifier: subject})
	return true
}
