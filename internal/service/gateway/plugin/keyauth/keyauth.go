package keyauth

import (
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const collection = "keyauth_credentials"

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "key-auth", Version: gateway.Version, Priority: 1250, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "key_names", Kind: schema.Array, Required: true, Default: []any{"apikey"}, LenMin: schema.Ptr(1),
				Description: "Names a key is looked for under.",
				Elements:    &schema.Field{Kind: schema.String, Check: gateway.CheckHeaderName}},
			auth.HideCredentials(), auth.Anonymous(),
			schema.Flag("key_in_header", "Look for the key in the headers.", true),
			schema.Flag("key_in_query", "Look for the key in the query.", true),
			schema.Flag("key_in_body", "Look for the key in the body.", false),
			auth.Preflight(), auth.Realm(),
		}},
		Entities: []*schema.Entity{auth.Credential(
			schema.Entity{Name: collection, Path: "key-auths", NestedPath: "key-auth", EndpointKey: "key", Expires: true},
			&schema.Field{Name: "key", Kind: schema.String, Unique: true, Auto: true, Secret: true, Encrypted: true},
		)},
		New: newInstance,
	}
}

type instance struct {
	directory                 gateway.Directory
	names                     []string
	hide, header, query, body bool

	none, unknown, repeated auth.Failure
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{directory: env.Directory, names: schema.Strings(c["key_names"])}
	in.hide, _ = c["hide_credentials"].(bool)
	in.header, _ = c["key_in_header"].(bool)
	in.query, _ = c["key_in_query"].(bool)
	in.body, _ = c["key_in_body"].(bool)
	challenge := auth.Challenge("Key", c)
	in.none = auth.Failure{Message: "No API key found in request", Challenge: challenge}
	in.unknown = auth.Failure{Message: "Unauthorized", Challenge: challenge}
	in.repeated = auth.Failure{Message: "Duplicate API key found", Challenge: challenge}
	return auth.NewGate(in, c, env), nil
}

// Authenticate implements auth.Method.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	key, found, repeated := in.find(x)
	switch {
	case repeated:
		return &in.repeated
	case !found || key == "":
		return &in.none
	}
	cred, ok := in.directory.ByUnique(collection, "key", key)
	if !ok {
		return &in.unknown
	}
	id, _ := cred["id"].(string)
	if !auth.Accept(x, in.directory, cred, id) {
		return &in.unknown
	}
	return nil
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
			key, n = gateway.QueryValue(x.Request.RawQuery, name)
		}
		if n == 0 && in.body {
			key, n = auth.BodyValue(x, name)
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
		x.Request.RawQuery, _ = gateway.WithoutArg(x.Request.RawQuery, name)
		x.Request.HasQuery = x.Request.RawQuery != ""
	}
	if in.body {
		auth.RemoveFromBody(x, name)
	}
}
