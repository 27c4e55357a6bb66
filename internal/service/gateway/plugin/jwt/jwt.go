package jwt

import (
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const collection = "jwt_secrets"

var algorithms = []any{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "jwt", Version: gateway.Version, Priority: 1450, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{
			Fields: []*schema.Field{
				{Name: "uri_param_names", Kind: schema.Set, Default: []any{"jwt"}, Elements: &schema.Field{Kind: schema.String},
					Description: "Query parameters that a token is looked for in."},
				{Name: "cookie_names", Kind: schema.Set, Default: []any{}, Elements: &schema.Field{Kind: schema.String},
					Description: "Cookies that a token is looked for in."},
				{Name: "key_claim_name", Kind: schema.String, Default: "iss", Description: "Claim that names the credential."},
				schema.Flag("secret_is_base64", "The credentials' secrets are in base64.", false),
				{Name: "claims_to_verify", Kind: schema.Set, Elements: &schema.Field{Kind: schema.String, OneOf: []any{"exp", "nbf"}},
					Description: "Claims to check besides the signature."},
				auth.Anonymous(), auth.Preflight(),
				{Name: "maximum_expiration", Kind: schema.Number, Default: 0, Between: []float64{0, 31536000},
					Description: "Seconds from now that exp may lie ahead; 0 for any."},
				{Name: "header_names", Kind: schema.Set, Default: []any{"authorization"}, Elements: &schema.Field{Kind: schema.String},
					Description: "Headers that a token is looked for in."},
				auth.Realm(),
			},
			Checks: []schema.Check{{Custom: func(c schema.Record, bad func(field, msg string)) {
				if most, _ := c["maximum_expiration"].(float64); most > 0 && !slices.Contains(schema.Strings(c["claims_to_verify"]), "exp") {
					bad("claims_to_verify", "expected to contain: exp")
					bad("", "failed conditional validation given value of field 'maximum_expiration'")
				}
			}}},
		},
		Entities: []*schema.Entity{credential()},
		New:      newInstance,
	}
}

func credential() *schema.Entity {
	e := auth.Credential(
		schema.Entity{Name: collection, Path: "jwts", NestedPath: "jwt", EndpointKey: "key"},
		&schema.Field{Name: "key", Kind: schema.String, Unique: true, Auto: true},
		&schema.Field{Name: "secret", Kind: schema.String, Auto: true, Encrypted: true},
		&schema.Field{Name: "rsa_public_key", Kind: schema.String},
		&schema.Field{Name: "algorithm", Kind: schema.String, Default: "HS256", OneOf: algorithms},
	)
	// As in Kong, RSA alone needs its key here: tokens of the other asymmetric algorithms are
	// refused until there is one.
	e.Record.Checks = []schema.Check{{If: &schema.Conditional{Field: "algorithm", Is: []any{"RS256", "RS384", "RS512"},
		Then: "rsa_public_key", Match: schema.Match{Required: true, Check: func(v any) string {
			if text, ok := v.(string); ok {
				if _, err := parseKey(text); err != nil {
					return "invalid key"
				}
			}
			return ""
		}}}}}
	return e
}

type instance struct {
	directory                gateway.Directory
	clock                    clock.Clock
	params, cookies, headers []string
	claim                    string
	base64                   bool
	verify                   []string
	maximum                  float64
	keys                     keyCache
	challenge, invalid       string
	none, repeated           auth.Failure
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{
		directory: env.Directory, clock: env.Clock, verify: schema.Strings(c["claims_to_verify"]), keys: newKeyCache(),
		params: schema.Strings(c["uri_param_names"]), cookies: schema.Strings(c["cookie_names"]), headers: schema.Strings(c["header_names"]),
	}
	in.claim, _ = c["key_claim_name"].(string)
	in.base64, _ = c["secret_is_base64"].(bool)
	in.maximum, _ = c["maximum_expiration"].(float64)
	in.challenge = auth.Challenge("Bearer", c)
	separator := " "
	if in.challenge != "Bearer" {
		separator = ", "
	}
	in.invalid = in.challenge + separator + `error="invalid_token"`
	in.none = auth.Failure{Body: body("Unauthorized"), Challenge: in.challenge}
	in.repeated = auth.Failure{Body: body("Multiple tokens provided"), Challenge: in.invalid}
	return auth.NewGate(in, c, env), nil
}

// body is an error as this plugin gives it: without a request id.
func body(message string) []byte {
	out, _ := gateway.EncodeJSON(map[string]string{"message": message}) // a map of strings always encodes
	return out
}

func (in *instance) refuse(message string) *auth.Failure {
	return &auth.Failure{Body: body(message), Challenge: in.invalid}
}

// Authenticate implements auth.Method.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	text, several := in.find(x)
	switch {
	case several:
		return &in.repeated
	case text == "":
		return &in.none
	}
	t, err := parse(text)
	if err != nil {
		return in.refuse("Bad token; " + err.Error())
	}
	name, ok := t.claims[in.claim]
	if !ok {
		name, ok = t.header[in.claim]
	}
	key, isText := name.(string)
	switch {
	case !ok || name == nil:
		return in.refuse("No mandatory '" + in.claim + "' in claims")
	case !isText || key == "":
		return in.refuse("Invalid '" + in.claim + "' in claims")
	}
	cred, ok := in.directory.ByUnique(collection, "key", key)
	if !ok {
		return in.refuse("No credentials found for given '" + in.claim + "'")
	}
	algorithm, _ := cred["algorithm"].(string)
	if t.header["alg"] != algorithm {
		return in.refuse("Invalid algorithm")
	}
	with, err := in.keyOf(cred, algorithm)
	if err != nil {
		return in.refuse("Invalid key/secret")
	}
	if !t.signedBy(algorithm, with) {
		return in.refuse("Invalid signature")
	}
	if wrong := in.checkClaims(t); len(wrong) > 0 {
		out, _ := gateway.EncodeJSON(wrong) // a map of strings always encodes
		return &auth.Failure{Body: out, Challenge: in.invalid}
	}
	if !auth.Accept(x, in.directory, cred, key) {
		return in.refuse("Could not find consumer for '" + in.claim + "=" + key + "'")
	}
	return nil
}

// checkClaims checks the times a token is good for.
func (in *instance) checkClaims(t *token) map[string]string {
	wrong := map[string]string{}
	now := float64(in.clock.Now().Unix())
	for _, claim := range in.verify {
		at, ok := t.claims[claim].(float64)
		switch {
		case !ok:
			wrong[claim] = "must be a number"
		case claim == "exp" && at <= now:
			wrong[claim] = "token expired"
		case claim == "nbf" && at > now:
			wrong[claim] = "token not valid yet"
		}
	}
	if len(wrong) == 0 && in.maximum > 0 {
		if exp, ok := t.claims["exp"].(float64); !ok || exp-now > in.maximum {
			wrong["exp"] = "exceeds maximum allowed expiration"
		}
	}
	return wrong
}

// find looks for a token in the query, the cookies and the headers. several says that
// there are different ones.
func (in *instance) find(x *gateway.Exchange) (text string, several bool) {
	add := func(s string) {
		switch {
		case s == "" || s == text:
		case text == "":
			text = s
		default:
			several = true
		}
	}
	if x.Request.HasQuery {
		for _, name := range in.params {
			for _, v := range gateway.QueryValues(x.Request.RawQuery, name) {
				add(v)
			}
		}
	}
	for _, name := range in.cookies {
		if v, ok := gateway.Cookie(&x.Request.Header, name); ok {
			add(v)
		}
	}
	for _, name := range in.headers {
		for _, f := range x.Request.Header.Fields() {
			if !gateway.EqualFold(f.Name, name) {
				continue
			}
			if scheme, rest, ok := strings.Cut(strings.TrimSpace(f.Value), " "); ok && gateway.EqualFold(scheme, "Bearer") {
				add(strings.TrimSpace(rest))
			}
		}
	}
	return text, several
}
