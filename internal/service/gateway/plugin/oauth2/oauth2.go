package oauth2

import (
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	seconds := func(name, description string, by int) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Number, Required: true, Default: by, Between: []float64{0, 100_000_000}, Description: description}
	}
	return gateway.Plugin{
		Name: "oauth2", Version: gateway.Version, Priority: 1400, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{
			Fields: []*schema.Field{
				schema.StringArray("scopes", "Scopes that there are."),
				schema.Flag("mandatory_scope", "A scope must be asked for.", false),
				{Name: "provision_key", Kind: schema.String, Auto: true, Encrypted: true, Referenceable: true,
					Description: "Key by which the application that authenticates users proves itself."},
				seconds("token_expiration", "Seconds for which an access token is good; 0 for ever.", 7200),
				schema.Flag("enable_authorization_code", "Serve the authorization code grant.", false),
				schema.Flag("enable_implicit_grant", "Serve the implicit grant.", false),
				schema.Flag("enable_client_credentials", "Serve the client credentials grant.", false),
				schema.Flag("enable_password_grant", "Serve the resource owner password credentials grant.", false),
				auth.HideCredentials(),
				schema.Flag("accept_http_if_already_terminated", "Believe a trusted peer that HTTPS ended there.", false),
				auth.Anonymous(),
				schema.Flag("global_credentials", "Tokens are good for every service with this flag.", false),
				{Name: "auth_header_name", Kind: schema.String, Default: "authorization", Check: gateway.CheckHeaderName,
					Description: "Header that holds the access token."},
				seconds("refresh_token_ttl", "Seconds for which a refresh token is good; 0 for ever.", 1209600),
				schema.Flag("reuse_refresh_token", "A refresh token stays when it is used.", false),
				fields.Choice("pkce", []string{"none", "lax", "strict"}, schema.Default("lax"),
					schema.Describe("Whether codes need a proof of the client: never, of public clients, of all.")),
				{Name: "realm", Kind: schema.String, Default: "service", Description: "Realm told in WWW-Authenticate."},
			},
			Checks: []schema.Check{
				{If: &schema.Conditional{Field: "mandatory_scope", Is: []any{true}, Then: "scopes", Match: schema.Match{Required: true}}},
				{Custom: func(r schema.Record, bad func(field, msg string)) {
					grants := []string{"enable_authorization_code", "enable_implicit_grant", "enable_client_credentials", "enable_password_grant"}
					for _, g := range grants {
						if fields.Bool(r, g) {
							return
						}
					}
					bad("", "at least one of these fields must be true: "+strings.Join(grants, ", "))
				}},
			},
		},
		Entities: entities(),
		New:      newInstance,
	}
}

type instance struct {
	*auth.Gate
	env    gateway.Env
	scopes []string // nil where any will do
	header string
	pkce   string

	provisionKey                       string
	codeGrant, implicit, client, owner bool
	mandatory, global, hide, reuse     bool
	terminated                         bool // believe trusted peers about HTTPS
	expiration, refreshTTL             int  // seconds; 0 for ever
	missing, invalid, misplaced        auth.Failure
	challenge                          string
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{env: env, header: fields.String(c, "auth_header_name"), pkce: fields.String(c, "pkce"),
		provisionKey: fields.String(c, "provision_key"), codeGrant: fields.Bool(c, "enable_authorization_code"),
		implicit: fields.Bool(c, "enable_implicit_grant"), client: fields.Bool(c, "enable_client_credentials"),
		owner: fields.Bool(c, "enable_password_grant"), mandatory: fields.Bool(c, "mandatory_scope"),
		global: fields.Bool(c, "global_credentials"), hide: fields.Bool(c, "hide_credentials"), reuse: fields.Bool(c, "reuse_refresh_token"),
		terminated: fields.Bool(c, "accept_http_if_already_terminated"),
		expiration: fields.Int(c, "token_expiration"), refreshTTL: fields.Int(c, "refresh_token_ttl")}
	if !schema.Empty(c["scopes"]) {
		in.scopes = fields.Strings(c, "scopes")
	}
	in.challenge = auth.Challenge("Bearer", c)
	refusal := func(code, description string) auth.Failure {
		return auth.Failure{Body: problem{code, description}.body(""),
			Challenge: in.challenge + ` error="` + code + `" error_description="` + description + `"`}
	}
	in.missing = refusal("invalid_request", "The access token is missing")
	in.missing.Challenge = in.challenge
	in.invalid = refusal("invalid_token", "The access token is invalid or has expired")
	in.misplaced = refusal("invalid_token",
		"The access token is global, but the current plugin is configured without 'global_credentials'")
	in.Gate = auth.NewGate(in, c, env)
	return in, nil
}

// Headers that tell the upstream about the token.
const (
	headerScope = "X-Authenticated-Scope"
	headerUser  = "X-Authenticated-UserId"
)

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	path := strings.TrimSuffix(x.Request.Path, "/")
	switch {
	case strings.HasSuffix(path, "/oauth2/token"):
		in.serve(x, "token", in.issue)
	case strings.HasSuffix(path, "/oauth2/authorize"):
		in.serve(x, "authorization", in.authorize)
	default:
		x.Request.Header.Del(headerScope)
		x.Request.Header.Del(headerUser)
		in.Gate.Access(x)
	}
}

// Authenticate implements auth.Method.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	text := in.take(x)
	if text == "" {
		return &in.missing
	}
	token, ok := in.env.Directory.ByUnique(tokens, "access_token", text)
	if !ok {
		return &in.invalid
	}
	switch of := refID(token, "service"); {
	case of == "" && !in.global:
		return &in.misplaced
	case of != "" && of != serviceID(x):
		return &in.invalid
	}
	created, _ := token["created_at"].(float64)
	if life := fields.Int(token, "expires_in"); life > 0 && in.env.Clock.Now().After(time.Unix(int64(created)+int64(life), 0)) {
		return &in.invalid
	}
	client, ok := in.env.Directory.ByID(clients, refID(token, "credential"))
	if !ok || !auth.Accept(x, in.env.Directory, client, fields.String(client, "client_id")) {
		return &in.invalid
	}
	if v := fields.String(token, "scope"); v != "" {
		x.Request.Header.Set(headerScope, v)
	}
	if v := fields.String(token, "authenticated_userid"); v != "" {
		x.Request.Header.Set(headerUser, v)
	}
	return nil
}

// take finds the access token, and takes it out of the request where it is to be hidden.
func (in *instance) take(x *gateway.Exchange) string {
	if v, ok := x.Request.Header.Lookup(in.header); ok {
		parts := strings.Fields(v)
		if len(parts) == 2 && (strings.EqualFold(parts[0], "bearer") || strings.EqualFold(parts[0], "token")) {
			v = strings.Clone(parts[1])
			if in.hide {
				x.Request.Header.Del(in.header)
			}
		}
		return v
	}
	const name = "access_token"
	text, n := parameter(x, name)
	if n != 1 {
		return ""
	}
	if in.hide {
		text = strings.Clone(text)
		if x.Request.HasQuery {
			x.Request.RawQuery, _ = gateway.WithoutArg(x.Request.RawQuery, name)
			x.Request.HasQuery = x.Request.RawQuery != ""
		}
		auth.RemoveFromBody(x, name)
	}
	return text
}

// parameter returns a parameter of the body or, where it has none, of the query, and how
// often it is there.
func parameter(x *gateway.Exchange, name string) (v string, n int) {
	switch x.Request.Method {
	case "POST", "PUT", "PATCH":
		v, n = auth.BodyValue(x, name)
	}
	if n == 0 && x.Request.HasQuery {
		v, n = gateway.QueryValue(x.Request.RawQuery, name)
	}
	return v, n
}

// serviceID is the id of the service that the request is for, "" for none.
func serviceID(x *gateway.Exchange) string {
	if s := x.Route().Service; s != nil {
		return s.ID
	}
	return ""
}

func refID(r schema.Record, name string) string {
	ref, _ := r[name].(schema.Record)
	return fields.String(ref, "id")
}

// ref is a reference to an entity, null for the id "".
func ref(id string) any {
	if id == "" {
		return nil
	}
	return schema.Record{"id": id}
}
