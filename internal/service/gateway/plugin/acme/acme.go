package acme

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kind needs besides what the gateway gives.
type Deps struct {
	// Client calls the authority, and the domain where the Admin API tests the challenge's
	// way. nil: one that trusts the system's roots.
	Client *http.Client
}

// kind is what the instances of a node share.
type kind struct {
	client *http.Client
	memory *memory // of storage shm

	mu        sync.Mutex
	instances map[string]*instance // by the id of the plugin entity
}

// callTimeout bounds one call of the authority.
const callTimeout = 30 * time.Second

// New returns the kind.
func New(d Deps) gateway.Plugin {
	k := &kind{client: d.Client, instances: map[string]*instance{}}
	if k.client == nil {
		k.client = &http.Client{Timeout: callTimeout}
	}
	k.memory = newMemory()
	return gateway.Plugin{
		Name: "acme", Version: gateway.Version, Priority: 1705, NoScopes: []string{"route", "service", "consumer"},
		Config: config(), Checks: []schema.Check{{Custom: checkTerms}}, Entities: []*schema.Entity{storageEntity()}, Admin: k.admin(),
		New: func(c schema.Record, env gateway.Env) (any, error) { return k.newInstance(c, env) },
	}
}

func config() *schema.Field {
	text := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Description: description}
	}
	secret := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Encrypted: true, Referenceable: true, Description: description}
	}
	flag := func(name string, by bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Boolean, Default: by}
	}
	number := func(name, description string, by any, most float64) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Number, Default: by, Between: []float64{0, most}, Description: description}
	}
	record := func(name string, inner ...*schema.Field) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Nested, Required: true, Fields: inner}
	}
	return &schema.Field{Fields: []*schema.Field{
		{Name: "account_email", Kind: schema.String, Required: true, Encrypted: true, Referenceable: true, Check: checkEmail,
			Description: "Whom the account with the authority is for."},
		{Name: "account_key", Kind: schema.Nested, Description: "Key of the account, one of the keys entities; unset: one is made.",
			Fields: []*schema.Field{
				{Name: "key_id", Kind: schema.String, Required: true, Description: "kid of the key."}, text("key_set", "Name of its set.")}},
		fields.URL("api_uri", schema.Default("https://acme-v02.api.letsencrypt.org/directory"), schema.Describe("Directory of the authority.")),
		{Name: "tos_accepted", Kind: schema.Boolean, Default: false, Description: "The terms of service are accepted; Let's Encrypt requires it."},
		secret("eab_kid", "Key id of the external account."),
		externalKey(secret("eab_hmac_key", "Key of the external account, in base64url.")),
		fields.Choice("cert_type", []string{"rsa", "ecc"}, schema.Default("rsa"), schema.Describe("Type of the certificates' keys.")),
		{Name: "rsa_key_size", Kind: schema.Number, Default: 4096, OneOf: []any{2048.0, 3072.0, 4096.0}, Description: "Bits of the certificates' RSA keys."},
		number("renew_threshold_days", "Days before its end at which a certificate is renewed.", 14, 36500),
		{Name: "domains", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkDomain},
			Description: "Domains to obtain certificates for; *. at the start stands for any labels."},
		{Name: "allow_any_domain", Kind: schema.Boolean, Default: false, Description: "Obtain certificates for any domain, whatever domains says."},
		number("fail_backoff_minutes", "Minutes to wait after a domain's order has failed.", 5, 1e6),
		fields.Choice("storage", []string{"kong", "shm", "redis", "consul", "vault"}, schema.Default("shm"),
			schema.Describe("What keeps accounts and challenges: kong, the entities all nodes share, shm, the memory of a node, or a server.")),
		record("storage_config",
			record("shm", &schema.Field{Name: "shm_name", Kind: schema.String, Default: "kong"}),
			record("kong"),
			redisField(),
			record("consul", flag("https", false), fields.Host("host"), fields.Port("port"), text("kv_path", ""),
				&schema.Field{Name: "timeout", Kind: schema.Number}, secret("token", "")),
			record("vault", flag("https", false), fields.Host("host"), fields.Port("port"), text("kv_path", ""),
				&schema.Field{Name: "timeout", Kind: schema.Number}, secret("token", ""), flag("tls_verify", true), text("tls_server_name", ""),
				fields.Choice("auth_method", []string{"token", "kubernetes"}, schema.Default("token")),
				text("auth_path", ""), text("auth_role", ""), text("jwt_path", "")),
		),
		text("preferred_chain", "Common name of the issuer that the chain should end in."),
		flag("enable_ipv4_common_name", true),
	}}
}

// externalKey checks a key while it is configured: an instance without one could not be made.
func externalKey(f *schema.Field) *schema.Field {
	f.Check = func(v any) string {
		if text := v.(string); !isReference(text) {
			if _, err := decodeKey(text); err != nil {
				return "expected base64url"
			}
		}
		return ""
	}
	return f
}

func decodeKey(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

// isReference reports whether a value is to be read from a vault.
func isReference(text string) bool { return strings.HasPrefix(text, "{vault://") }

func checkEmail(v any) string {
	if !strings.Contains(v.(string), "@") && !isReference(v.(string)) {
		return "invalid value: " + v.(string)
	}
	return ""
}

func checkDomain(v any) string {
	if !isName(strings.TrimPrefix(v.(string), "*.")) {
		return "invalid value: " + v.(string)
	}
	return ""
}

// termed are the hosts whose terms have to be accepted.
var termed = []string{"acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"}

func checkTerms(r schema.Record, bad func(field, msg string)) {
	c, _ := r["config"].(schema.Record)
	u, err := url.Parse(fields.String(c, "api_uri"))
	if err == nil && slices.Contains(termed, strings.ToLower(u.Hostname())) && !fields.Bool(c, "tos_accepted") {
		bad("config.tos_accepted", "terms of service must be accepted, see https://letsencrypt.org/repository/")
		bad("", "failed conditional validation given value of field 'config.api_uri'")
	}
}

// isName reports whether a text is a domain name that a certificate can be for.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	numeric := true // the last label, as of an IPv4 address
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		numeric = true
		for _, c := range []byte(label) {
			digit := c >= '0' && c <= '9'
			if !digit && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' {
				return false
			}
			numeric = numeric && digit
		}
	}
	return !numeric
}
