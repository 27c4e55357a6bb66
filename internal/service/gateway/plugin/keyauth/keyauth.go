package keyauth

import (
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const collection = "keyauth_credentials"

// maxBody is the largest body that is searched for a key.
const maxBody = 1 << 20

// New returns the kind.
func New() gateway.Plugin {
	id, created, _, tags := gateway.Shared()
	flag := func(name, description string, by bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Boolean, Required: true, Default: by, Description: description}
	}
	return gateway.Plugin{
		Name: "key-auth", Version: gateway.Version, Priority: 1250, NoScopes: []string{"consumer"},
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "key_names", Kind: schema.Array, Required: true, Default: []any{"apikey"}, LenMin: schema.Ptr(1),
				Description: "Names a key is looked for under.",
				Elements:    &schema.Field{Kind: schema.String, Check: checkName}},
			flag("hide_credentials", "Do not pass the key on.", false),
			{Name: "anonymous", Kind: schema.String,
				Description: "Consumer, by id or username, of requests that fail authentication."},
			flag("key_in_header", "Look for the key in the headers.", true),
			flag("key_in_query", "Look for the key in the query.", true),
			flag("key_in_body", "Look for the key in the body.", false),
			flag("run_on_preflight", "Authenticate OPTIONS requests too.", true),
			{Name: "realm", Kind: schema.String, Description: "Realm told in WWW-Authenticate."},
		}},
		Entities: []*schema.Entity{{
			Name: collection, Path: "key-auths", NestedPath: "key-auth", EndpointKey: "key", Expires: true,
			Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
				id, created,
				{Name: "consumer", Kind: schema.Foreign, Reference: "consumers", Required: true, Cascade: true},
				{Name: "key", Kind: schema.String, Unique: true, Auto: true, Secret: true},
				tags,
			}},
		}},
		New: newInstance,
	}
}

func checkName(v any) string {
	for _, c := range []byte(v.(string)) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return "bad header name '" + v.(string) + "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
		}
	}
	return ""
}

type instance struct {
	directory                         gateway.Directory
	names                             []string
	hide, header, query, body, always bool
	anonymous                         string
	challenge                         string
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{directory: env.Directory, challenge: "Key"}
	for _, n := range c["key_names"].([]any) {
		in.names = append(in.names, n.(string))
	}
	in.hide, _ = c["hide_credentials"].(bool)
	in.header, _ = c["key_in_header"].(bool)
	in.query, _ = c["key_in_query"].(bool)
	in.body, _ = c["key_in_body"].(bool)
	in.always, _ = c["run_on_preflight"].(bool)
	in.anonymous, _ = c["anonymous"].(string)
	if realm, _ := c["realm"].(string); realm != "" {
		in.challenge = `Key realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `"`
	}
	return in, nil
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	if !in.always && x.Request.Method == "OPTIONS" {
		return
	}
	if in.anonymous != "" && x.Credential() != nil {
		return // another authentication plugin has succeeded, and one is enough
	}
	message := in.authenticate(x)
	if message == "" {
		return
	}
	if in.anonymous == "" {
		x.Fail(401, message, gateway.Field{Name: "WWW-Authenticate", Value: in.challenge})
		return
	}
	c, ok := in.directory.Consumer(in.anonymous)
	if !ok {
		x.Fail(500, "An unexpected error occurred")
		return
	}
	x.Authenticate(c, nil)
}

// authenticate returns what to tell the client where it fails, and "" on success.
func (in *instance) authenticate(x *gateway.Exchange) string {
	key, found, repeated := in.find(x)
	switch {
	case repeated:
		return "Duplicate API key found"
	case !found || key == "":
		return "No API key found in request"
	}
	cred, ok := in.directory.ByUnique(collection, "key", key)
	if !ok {
		return "Unauthorized"
	}
	ref, _ := cred["consumer"].(schema.Record)
	owner, _ := ref["id"].(string)
	c, ok := in.directory.Consumer(owner)
	if !ok {
		return "Unauthorized"
	}
	id, _ := cred["id"].(string)
	x.Authenticate(c, &gateway.Credential{ID: id, ConsumerID: owner, Identifier: id})
	return ""
}

// find looks for a key, name by name, in the headers, the query and the body, and takes
// it out where credentials are to be hidden.
func (in *instance) find(x *gateway.Exchange) (key string, found, repeated bool) {
	for _, name := range in.names {
		n := 0
		if in.header {
			if n = x.Request.Header.Count(name); n > 0 {
				key = x.Request.Header.Get(name)
			}
		}
		if n == 0 && in.query && x.Request.HasQuery {
			key, n = queryValue(x.Request.RawQuery, name)
		}
		if n == 0 && in.body {
			key, n = bodyValue(x, name)
		}
		switch {
		case n > 1:
			return "", true, true
		case n == 1:
			if in.hide {
				key = strings.Clone(key)
				in.remove(x, name)
			}
			return key, true, false
		}
	}
	return "", false, false
}

func (in *instance) remove(x *gateway.Exchange, name string) {
	x.Request.Header.Del(name)
	if x.Request.HasQuery {
		x.Request.RawQuery, _ = withoutArg(x.Request.RawQuery, name)
		x.Request.HasQuery = x.Request.RawQuery != ""
	}
	if in.body {
		removeFromBody(x, name)
	}
}

// queryValue returns the value of a query parameter and how often it occurs.
func queryValue(query, name string) (value string, n int) {
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		if unescape(k) == name {
			if n++; n == 1 {
				value = unescape(v)
			}
		}
	}
	return value, n
}

// withoutArg returns the query without a parameter, the others as they were.
func withoutArg(query, name string) (rest string, removed bool) {
	kept := make([]string, 0, strings.Count(query, "&")+1)
	for part := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(part, "=")
		if unescape(k) == name {
			removed = true
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&"), removed
}

func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	u, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return u
}
