package hmacauth

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const collection = "hmacauth_credentials"

// maxBody is the largest body whose digest is validated.
const maxBody = 32 << 20

var algorithms = map[string]func() hash.Hash{
	"hmac-sha1": sha1.New, "hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
}

// New returns the kind.
func New() gateway.Plugin {
	names := []any{"hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"}
	return gateway.Plugin{
		Name: "hmac-auth", Version: gateway.Version, Priority: 1030, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{Fields: []*schema.Field{
			auth.HideCredentials(),
			{Name: "clock_skew", Kind: schema.Number, Default: 300, Gt: schema.Ptr(0.0),
				Description: "Seconds that the client's clock may be off."},
			auth.Anonymous(),
			schema.Flag("validate_request_body", "Compare the body with the header Digest.", false),
			schema.StringArray("enforce_headers", "Headers that the client must have signed.", []any{}...),
			{Name: "algorithms", Kind: schema.Array, Default: names, Elements: &schema.Field{Kind: schema.String, OneOf: names},
				Description: "Algorithms the client may sign by."},
			auth.Realm(),
		}},
		Entities: []*schema.Entity{auth.Credential(
			schema.Entity{Name: collection, Path: "hmac-auths", NestedPath: "hmac-auth", EndpointKey: "username"},
			&schema.Field{Name: "username", Kind: schema.String, Required: true, Unique: true},
			&schema.Field{Name: "secret", Kind: schema.String, Auto: true, Encrypted: true},
		)},
		New: newInstance,
	}
}

type instance struct {
	directory gateway.Directory
	clock     clock.Clock
	hide      bool
	skew      time.Duration
	body      bool
	enforced  []string
	allowed   []string

	none, undated, unverified, mismatch auth.Failure
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{directory: env.Directory, clock: env.Clock,
		enforced: schema.Strings(c["enforce_headers"]), allowed: schema.Strings(c["algorithms"])}
	in.hide, _ = c["hide_credentials"].(bool)
	in.body, _ = c["validate_request_body"].(bool)
	in.skew = fields.Seconds(c, "clock_skew")
	challenge := auth.Challenge("hmac", c)
	fail := func(message string) auth.Failure { return auth.Failure{Message: message, Challenge: challenge} }
	in.none = fail("Unauthorized")
	in.undated = fail("HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication")
	in.unverified = fail("HMAC signature cannot be verified")
	in.mismatch = fail("HMAC signature does not match")
	return auth.NewGate(in, c, env), nil
}

// Authenticate implements auth.Method. Proxy-Authorization goes before Authorization.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	h := &x.Request.Header
	proxy, first := h.Lookup("Proxy-Authorization")
	plain, second := h.Lookup("Authorization")
	if !first && !second {
		return &in.none
	}
	if !in.timely(h.Get("X-Date")) && !in.timely(h.Get("Date")) {
		return &in.undated
	}
	from := "Proxy-Authorization"
	p, ok := parse(proxy)
	if !ok {
		from = "Authorization"
		p, ok = parse(plain)
	}
	algorithm := algorithms[p.algorithm]
	if !ok || algorithm == nil || !slices.Contains(in.allowed, p.algorithm) || !in.signedEnough(p.headers) {
		return &in.unverified
	}
	cred, ok := in.directory.ByUnique(collection, "username", p.username)
	if !ok {
		return &in.unverified
	}
	secret, _ := cred["secret"].(string)
	mac := hmac.New(algorithm, []byte(secret))
	writeSigned(mac, x, p.headers)
	given, err := base64.StdEncoding.DecodeString(p.signature)
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return &in.mismatch
	}
	if in.body && !bodyMatches(x) {
		return &in.mismatch
	}
	username := strings.Clone(p.username)
	if in.hide {
		h.Del(from)
	}
	if !auth.Accept(x, in.directory, cred, username) {
		return &in.unverified
	}
	return nil
}

func (in *instance) timely(date string) bool {
	if date == "" {
		return false
	}
	at, err := http.ParseTime(date)
	return err == nil && in.clock.Now().Sub(at).Abs() <= in.skew
}

// signedEnough reports whether every enforced header was signed. The request line can be
// signed in either of its forms.
func (in *instance) signedEnough(headers []string) bool {
	for _, want := range in.enforced {
		if !slices.ContainsFunc(headers, func(h string) bool { return strings.EqualFold(h, want) }) {
			return false
		}
	}
	return true
}

// parameters are what an Authorization header of the scheme says.
type parameters struct {
	username, algorithm, signature string
	headers                        []string
}

var form = regexp.MustCompile(`^\s*[Hh][Mm][Aa][Cc]\s*username="(.+?)",\s*algorithm="(.+?)",\s*headers="(.+?)",\s*signature="(.+?)"`)

func parse(header string) (p parameters, ok bool) {
	m := form.FindStringSubmatch(header)
	if m == nil {
		return p, false
	}
	return parameters{username: m[1], algorithm: m[2], headers: strings.Fields(m[3]), signature: m[4]}, true
}

// writeSigned writes what the client signed. A header that is not there is signed as its
// name alone.
func writeSigned(mac hash.Hash, x *gateway.Exchange, headers []string) {
	r := &x.Request
	var b []byte
	for i, name := range headers {
		if i > 0 {
			b = append(b, '\n')
		}
		value, ok := r.Header.Lookup(name)
		switch {
		case strings.EqualFold(name, "request-line"):
			b = append(append(b, r.Method...), ' ')
			b = append(appendTarget(b, r), " HTTP/"...)
			b = append(b, byte('0'+r.Proto), '.', byte('0'+r.Minor))
			continue
		case strings.EqualFold(name, "@request-target"):
			b = append(append(b, name...), ": "...)
			b = append(append(b, strings.ToLower(r.Method)...), ' ')
			b = appendTarget(b, r)
			continue
		case strings.EqualFold(name, "host"):
			value, ok = r.Authority, r.Authority != ""
		}
		b = append(append(b, name...), ':')
		if ok {
			b = append(append(b, ' '), value...)
		}
	}
	mac.Write(b)
}

// appendTarget appends path and query as the client sent them.
func appendTarget(b []byte, r *gateway.Request) []byte {
	b = append(b, r.RawPath...)
	if r.HasQuery {
		b = append(append(b, '?'), r.RawQuery...)
	}
	return b
}

// bodyMatches compares the body with the header Digest, which only an empty body may lack.
func bodyMatches(x *gateway.Exchange) bool {
	body, err := x.Body(maxBody)
	if err != nil {
		return false
	}
	digest, ok := x.Request.Header.Lookup("Digest")
	if !ok {
		return len(body) == 0
	}
	sum := sha256.Sum256(body)
	want := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(digest), []byte(want)) == 1
}
