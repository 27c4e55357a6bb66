package ldapauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/maypok86/otter/v2"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "ldap-auth", Version: gateway.Version, Priority: 1200, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{
			Fields: []*schema.Field{
				fields.Host("ldap_host", schema.Required, schema.Describe("Host of the directory.")),
				fields.Port("ldap_port", schema.Required, schema.Default(389), schema.Describe("Port of the directory.")),
				schema.Flag("ldaps", "Speak TLS from the first byte.", false),
				schema.Flag("start_tls", "Go over to TLS by StartTLS.", false),
				schema.Flag("verify_ldap_host", "Verify the directory's certificate.", false),
				{Name: "base_dn", Kind: schema.String, Required: true, Description: "Name under which the users are."},
				{Name: "attribute", Kind: schema.String, Required: true, Check: checkAttribute, Description: "Attribute that holds the user name."},
				{Name: "cache_ttl", Kind: schema.Number, Required: true, Default: 60, Between: []float64{0, 86400 * 365},
					Description: "Seconds for which a password that was right is not asked about again."},
				auth.HideCredentials(),
				fields.Millis("timeout", 10_000), fields.Millis("keepalive", 60_000),
				auth.Anonymous(),
				{Name: "header_type", Kind: schema.String, Default: "ldap", Description: "Scheme in the Authorization header."},
				auth.Realm(),
			},
			Checks: []schema.Check{{If: &schema.Conditional{Field: "ldaps", Is: []any{true}, Then: "start_tls",
				Match: schema.Match{OneOf: []any{false}}, Err: "'ldaps' and 'start_tls' cannot be enabled simultaneously"}}},
		},
		New: newInstance,
	}
}

// checkAttribute takes what RFC 4512 allows as the name of an attribute: a word, or an
// object identifier.
func checkAttribute(v any) string {
	for _, c := range v.(string) {
		if c != '-' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return "not the name of an attribute"
		}
	}
	return ""
}

type instance struct {
	*auth.Gate
	env       gateway.Env
	directory *directory
	base      string
	attribute string
	scheme    string
	hide      bool
	failed    auth.Failure

	ttl   time.Duration
	key   []byte
	right *otter.Cache[[sha256.Size]byte, time.Time] // until when a password counts as right
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{env: env, directory: newDirectory(c, env.Clock),
		base: fields.String(c, "base_dn"), attribute: fields.String(c, "attribute"), scheme: fields.String(c, "header_type"),
		hide: fields.Bool(c, "hide_credentials"), ttl: fields.Seconds(c, "cache_ttl"), key: make([]byte, 32)}
	if _, err := rand.Read(in.key); err != nil {
		return nil, err
	}
	if in.ttl > 0 {
		in.right = otter.Must(&otter.Options[[sha256.Size]byte, time.Time]{MaximumSize: 10_000})
	}
	if in.scheme == "" {
		in.scheme = "ldap"
	}
	told := in.scheme
	if told == "ldap" {
		told = "LDAP"
	}
	in.failed = auth.Failure{Message: "Unauthorized", Challenge: auth.Challenge(told, c)}
	in.Gate = auth.NewGate(in, c, env)
	return in, nil
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.directory.close()
	return nil
}

// Authenticate implements auth.Method. Proxy-Authorization goes before Authorization; one
// that does not lead in leaves it to the other.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	h := &x.Request.Header
	for _, header := range []string{"Proxy-Authorization", "Authorization"} {
		user, password, ok := auth.Parse(in.scheme, h.Get(header))
		if !ok {
			continue
		}
		name := in.attribute + "=" + ldap.EscapeDN(user) + "," + in.base
		right, err := in.verify(x.Context(), name, password)
		if err != nil {
			in.env.Log.Error("the directory cannot be asked", "err", err, "request_id", x.ID())
			x.Fail(500, "An unexpected error occurred")
			return nil
		}
		if !right {
			continue
		}
		if in.hide {
			h.Del("Authorization")
			h.Del("Proxy-Authorization")
		}
		sum := sha256.Sum256([]byte(name))
		x.Authenticate(nil, &gateway.Credential{ID: hex.EncodeToString(sum[:]), Identifier: user})
		return nil
	}
	return &in.failed
}

// verify reports whether a password is right.
func (in *instance) verify(ctx context.Context, name, password string) (bool, error) {
	var digest [sha256.Size]byte
	now := in.env.Clock.Now()
	if in.right != nil {
		mac := hmac.New(sha256.New, in.key)
		mac.Write([]byte(name))
		mac.Write([]byte{0}) // no name holds one: it is escaped
		mac.Write([]byte(password))
		mac.Sum(digest[:0])
		if until, ok := in.right.GetIfPresent(digest); ok && now.Before(until) {
			return true, nil
		}
	}
	right, err := in.directory.bind(ctx, name, password)
	if right && in.right != nil {
		in.right.Set(digest, now.Add(in.ttl))
	}
	return right, err
}
