package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

var certificates = &schema.Entity{
	Name: "certificates",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldCreated, fieldUpdated,
		certField("cert", schema.Required, schema.Describe("The certificate, its issuers behind it, in PEM.")),
		keyField("key", schema.Required, schema.Describe("The certificate's private key, in PEM.")),
		certField("cert_alt", schema.Describe("A certificate for the same names with a key of another type.")),
		keyField("key_alt", schema.Describe("The private key of cert_alt.")),
		fieldTags,
	}, Checks: []schema.Check{
		{AllOrNone: []string{"cert_alt", "key_alt"}},
		{Custom: checkPairs},
	}},
	Labels: &schema.Labels{Entity: "snis", Foreign: "certificate", Field: &schema.Field{Name: "snis", Kind: schema.Array,
		Elements: &schema.Field{Kind: schema.String, Required: true, Check: checkServerName}}},
}

var snis = &schema.Entity{
	Name: "snis", EndpointKey: "name",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldCreated, fieldUpdated,
		{Name: "name", Kind: schema.String, Required: true, Unique: true, Check: checkServerName,
			Description: "A server name, with a wildcard as its first or last label, or * for all that have none of their own."},
		fieldTags,
		{Name: "certificate", Kind: schema.Foreign, Reference: "certificates", Required: true, Cascade: true, NoEndpoint: true},
	}},
}

// caCertificatesEntity describes ca_certificates; whether one has expired is a matter of
// the gateway's clock.
func (g *Gateway) caCertificatesEntity() *schema.Entity {
	return &schema.Entity{
		Name: "ca_certificates",
		Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			fieldID, fieldCreated, fieldUpdated,
			certField("cert", schema.Required, notReferenceable, schema.Describe("One certificate of an authority, in PEM.")),
			{Name: "cert_digest", Kind: schema.String, Unique: true, Description: "SHA-256 of the certificate; computed."},
			fieldTags,
		}, Checks: []schema.Check{{Custom: g.checkCA}}},
		Derive: func(r schema.Record) {
			if chain, err := parseChain(str(r["cert"])); err == nil {
				sum := sha256.Sum256(chain[0].Raw)
				r["cert_digest"] = hex.EncodeToString(sum[:])
			}
		},
	}
}

func (g *Gateway) checkCA(r schema.Record, bad func(field, msg string)) {
	chain, err := parseChain(str(r["cert"]))
	switch {
	case err != nil:
		bad("cert", "invalid certificate: "+err.Error())
	case len(chain) > 1:
		bad("", "please submit only one certificate at a time")
	case chain[0].NotAfter.Before(g.deps.Clock.Now()):
		bad("", `certificate expired, "Not After" time is in the past`)
	case !chain[0].BasicConstraintsValid || !chain[0].IsCA:
		bad("", `certificate does not appear to be a CA because it is missing the "CA" basic constraint`)
	}
}

func certField(name string, edits ...func(*schema.Field)) *schema.Field {
	f := schema.Field{Kind: schema.String, Referenceable: true, Check: func(v any) string {
		if msg := checkNotFileName(name, v.(string)); msg != "" {
			return msg
		}
		if isReference(v.(string)) {
			return ""
		}
		if _, err := parseChain(v.(string)); err != nil {
			return "invalid certificate: " + err.Error()
		}
		return ""
	}}
	return f.With(name, edits...)
}

// notReferenceable is for certificates that must be known when they are stored.
func notReferenceable(f *schema.Field) { f.Referenceable = false }

func keyField(name string, edits ...func(*schema.Field)) *schema.Field {
	f := schema.Field{Kind: schema.String, Referenceable: true, Encrypted: true, Check: func(v any) string {
		if msg := checkNotFileName(name, v.(string)); msg != "" {
			return msg
		}
		if isReference(v.(string)) {
			return ""
		}
		if _, err := parseKey(v.(string)); err != nil {
			return "invalid key: " + err.Error()
		}
		return ""
	}}
	return f.With(name, edits...)
}

// checkNotFileName finds the name of a file where its content should be, which is what
// curl's --data makes of field=@file.
func checkNotFileName(field, v string) string {
	if !strings.HasPrefix(v, "@") {
		return ""
	}
	return "this is the name of a file, not what is in it; send the file itself, with curl by -F " + field + "=@file"
}

func checkPairs(r schema.Record, bad func(field, msg string)) {
	for _, f := range []string{"cert", "key", "cert_alt", "key_alt"} {
		if isReference(str(r[f])) {
			return // what is in the vault shows when the certificate is compiled
		}
	}
	main, err := keyPair(r, "cert", "key")
	if err != nil {
		bad("", "certificate does not match key")
		return
	}
	if r["cert_alt"] == nil {
		return
	}
	alt, err := keyPair(r, "cert_alt", "key_alt")
	switch {
	case err != nil:
		bad("", "alternative certificate does not match key")
	case alt.Leaf.PublicKeyAlgorithm == main.Leaf.PublicKeyAlgorithm:
		bad("", "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), "+
			"the provided certificates were both of the same type")
	}
}

// checkServerName checks the name of an sni.
func checkServerName(v any) string {
	s := v.(string)
	switch {
	case s == "*":
		return ""
	case strings.Count(s, "*") > 1:
		return "invalid wildcard: must have at most one wildcard"
	case strings.Contains(s, "*") && !strings.HasPrefix(s, "*.") && !strings.HasSuffix(s, ".*"):
		return "invalid wildcard: must be placed at leftmost or rightmost label"
	}
	return checkSNI(v)
}
