package openidconnect

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/websession"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// methods are the ways in that are served.
var methods = []string{"authorization_code", "bearer", "client_credentials", "introspection", "password", "refresh_token", "session"}

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "openid-connect", Version: gateway.Version, Priority: 1050, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{Fields: configFields(), Checks: []schema.Check{{Custom: checkConfig}}},
		New:    newInstance,
	}
}

func configFields() []*schema.Field {
	text := func(name, description string, by any) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Description: description, Default: by}
	}
	flag := func(name, description string, by bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Boolean, Description: description, Default: by}
	}
	seconds := func(name, description string, by float64) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Number, Description: description, Default: by, Between: []float64{0, 1e8}}
	}
	list := func(name, description string, by ...string) *schema.Field {
		f := schema.StringArray(name, description)
		if by != nil {
			f.Default = fields.Any(by...)
		}
		return f
	}
	of := func(f *schema.Field, values ...string) *schema.Field {
		f.Elements.OneOf = fields.Any(values...)
		return f
	}
	urls := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, Description: description, Elements: fields.URL("")}
	}
	secrets := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, Description: description, Encrypted: true, LenMax: schema.Ptr(1),
			Elements: &schema.Field{Kind: schema.String, Referenceable: true}}
	}
	token := func(name string) *schema.Field {
		f := text(name, "Name of a cookie.", nil)
		f.Check = gateway.CheckHeaderName // a cookie's name is a token too
		return f
	}
	cookie := func(prefix, name, site string) []*schema.Field {
		return []*schema.Field{
			token(prefix+"_cookie_name").With(prefix+"_cookie_name", schema.Default(name)),
			text(prefix+"_cookie_path", "Path of the cookie.", "/"), text(prefix+"_cookie_domain", "Domain of the cookie.", nil),
			fields.Choice(prefix+"_cookie_same_site", []string{"Strict", "Lax", "None", "Default"}, schema.Default(site)),
			flag(prefix+"_cookie_http_only", "Keep the cookie from scripts.", true),
			{Name: prefix + "_cookie_secure", Kind: schema.Boolean, Description: "Send the cookie over HTTPS alone; unset: where the client came by it."},
		}
	}
	endpoint := func(name string) *schema.Field {
		return fields.URL(name, schema.Describe("In place of what is discovered."))
	}
	all := []*schema.Field{
		fields.URL("issuer", schema.Required, schema.Describe("Issuer, or where its metadata is.")),
		seconds("rediscovery_lifetime", "Seconds between two looks for keys that are not known.", 30),
		of(list("auth_methods", "Ways in.", methods...), methods...),
		secrets("client_id", "Id of the client at the provider."), secrets("client_secret", "Its secret."),
		of(list("client_auth", "How the client authenticates itself."), "client_secret_basic", "client_secret_post", "none"),
		urls("redirect_uri", "Where the provider sends browsers back; unset: where they were."),
		urls("logout_redirect_uri", "Where to send browsers after the logout."),
		list("scopes", "Scopes to ask for.", "openid"), list("audience", "Audience to ask for."),
		list("issuers_allowed", "Issuers of tokens besides."),
		list("scopes_required", "Scopes, one entry of which a token has to have."), list("scopes_claim", "Claim with the scopes.", "scope"),
		list("audience_required", "Audiences, one entry of which a token has to have."), list("audience_claim", "Claim with the audience.", "aud"),
		list("groups_required", "Groups, one entry of which a token has to have."), list("groups_claim", "Claim with the groups.", "groups"),
		list("roles_required", "Roles, one entry of which a token has to have."), list("roles_claim", "Claim with the roles.", "roles"),
		list("authenticated_groups_claim", "Claim with the groups that acl looks at."),
		endpoint("authorization_endpoint"), endpoint("token_endpoint"), endpoint("introspection_endpoint"), endpoint("end_session_endpoint"),
		seconds("authorization_rolling_timeout", "Seconds for a login.", 600),
		{Name: "session_secret", Kind: schema.String, Auto: true, Encrypted: true, Referenceable: true, Description: "Secret that cookies are sealed by."},
		text("session_audience", "Whom the session is for.", "default"),
		seconds("session_idling_timeout", "Seconds without a request after which a session ends.", 900),
		seconds("session_rolling_timeout", "Seconds after which a session has to be issued anew.", 3600),
		seconds("session_absolute_timeout", "Seconds after which a session ends in any case.", 86400),
		of(list("bearer_token_param_type", "Where to look for tokens.", "header", "query", "body"), "header", "query", "body", "cookie"),
		token("bearer_token_cookie_name"),
		flag("refresh_tokens", "Refresh the tokens of sessions.", true),
		list("upstream_headers_claims", "Claims to tell the upstream."),
		{Name: "upstream_headers_names", Kind: schema.Array, Description: "Headers to tell them in.", Elements: fields.HeaderName()},
		text("upstream_access_token_header", "Header with the access token; after a colon its scheme.", "authorization:bearer"),
		text("upstream_id_token_header", "Header with the ID token.", nil),
		text("logout_query_arg", "Query parameter that ends the session.", nil), text("logout_post_arg", "Field of a body that ends the session.", nil),
		text("logout_uri_suffix", "End of a path that ends the session.", nil),
		of(list("logout_methods", "Methods by which a session can be ended.", "POST", "DELETE"), "POST", "GET", "DELETE"),
		list("consumer_claim", "Claim that names the consumer."),
		of(list("consumer_by", "Fields of consumers that are compared.", "username", "custom_id"), "id", "username", "custom_id"),
		flag("consumer_optional", "Let in who is no consumer.", false),
		list("credential_claim", "Claim that stands for a credential where there is no consumer.", "sub"),
		auth.Anonymous(), auth.Preflight(),
		seconds("leeway", "Seconds that clocks may differ.", 0),
		seconds("cache_ttl", "Seconds for which an introspection is believed that does not say.", 3600),
		flag("cache_introspection", "Remember introspections.", true), flag("cache_tokens", "Remember the tokens of Basic credentials.", true),
		flag("introspect_jwt_tokens", "Introspect tokens that can be verified, too.", false),
		text("introspection_hint", "What a token is introspected as.", "access_token"),
		auth.HideCredentials(),
		flag("ssl_verify", "Verify the provider's certificate.", true), fields.Millis("timeout", 10_000),
		text("unauthorized_error_message", "What a client is told that is not let in.", "Unauthorized"),
		text("forbidden_error_message", "What a client is told that lacks a right.", "Forbidden"),
	}
	all = append(all, cookie("authorization", "authorization", "Default")...)
	return append(all, cookie("session", "session", "Lax")...)
}

func checkConfig(r schema.Record, bad func(field, msg string)) {
	if len(fields.Strings(r, "upstream_headers_claims")) != len(fields.Strings(r, "upstream_headers_names")) {
		bad("upstream_headers_names", "there must be as many as upstream_headers_claims")
	}
	needs := slices.ContainsFunc(fields.Strings(r, "auth_methods"), func(m string) bool { return m == "authorization_code" || m == "introspection" || m == "password" })
	if r["auth_methods"] != nil && needs && schema.Empty(r["client_id"]) {
		bad("client_id", "required field missing")
	}
}

type instance struct {
	*auth.Gate
	env      gateway.Env
	provider *provider
	memory   *memory
	methods  []string
	sessions jars
	logins   jars
	realm    string

	redirect, leave        string // "" for none
	scopes, audience       []string
	required               []requirement
	groups                 []string // claim
	consumer, by           []string
	optional               bool
	credential             []string
	places                 []string
	tokenCookie            string
	headerClaims, headers  []string
	accessHeader, idHeader string
	refresh, introspectAll bool
	keepAnswers, keepBasic bool
	cacheTTL               time.Duration
	hint                   string
	hide                   bool
	logout                 websession.Logout
	unauthorized           string
	forbidden              string
}

// requirement is what a claim has to have.
type requirement struct{ claim, of []string }

// jars are the keepers of one kind of session, by whether the client came by HTTPS.
type jars struct{ clear, secure *websession.Keeper }

func (j jars) of(x *gateway.Exchange) *websession.Keeper {
	if x.ForwardedProto() == "https" {
		return j.secure
	}
	return j.clear
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	one := func(name string) string {
		if all := fields.Strings(c, name); len(all) > 0 {
			return all[0]
		}
		return ""
	}
	in := &instance{env: env, memory: newMemory(), methods: fields.Strings(c, "auth_methods"),
		redirect: one("redirect_uri"), leave: one("logout_redirect_uri"), scopes: fields.Strings(c, "scopes"), audience: fields.Strings(c, "audience"),
		groups: fields.Strings(c, "authenticated_groups_claim"), consumer: fields.Strings(c, "consumer_claim"), by: fields.Strings(c, "consumer_by"),
		optional: fields.Bool(c, "consumer_optional"), credential: fields.Strings(c, "credential_claim"),
		places: fields.Strings(c, "bearer_token_param_type"), tokenCookie: fields.String(c, "bearer_token_cookie_name"),
		headerClaims: fields.Strings(c, "upstream_headers_claims"), headers: fields.Strings(c, "upstream_headers_names"),
		accessHeader: fields.String(c, "upstream_access_token_header"), idHeader: fields.String(c, "upstream_id_token_header"),
		refresh: fields.Bool(c, "refresh_tokens"), introspectAll: fields.Bool(c, "introspect_jwt_tokens"),
		keepAnswers: fields.Bool(c, "cache_introspection"), keepBasic: fields.Bool(c, "cache_tokens"), cacheTTL: fields.Seconds(c, "cache_ttl"),
		hint: fields.String(c, "introspection_hint"), hide: fields.Bool(c, "hide_credentials"),
		logout: websession.Logout{Methods: fields.Strings(c, "logout_methods"), Suffix: fields.String(c, "logout_uri_suffix"),
			Arg: fields.String(c, "logout_query_arg"), Field: fields.String(c, "logout_post_arg")},
		unauthorized: fields.String(c, "unauthorized_error_message"), forbidden: fields.String(c, "forbidden_error_message")}
	for _, of := range []string{"scopes", "audience", "groups", "roles"} {
		in.required = append(in.required, requirement{fields.Strings(c, of+"_claim"), fields.Strings(c, of+"_required")})
	}
	issuer := strings.TrimSuffix(strings.TrimSuffix(fields.String(c, "issuer"), wellKnown), "/")
	if u, err := url.Parse(issuer); err == nil {
		in.realm = u.Host
	}
	in.provider = &provider{issuer: issuer, allowed: fields.Strings(c, "issuers_allowed"), pause: fields.Seconds(c, "rediscovery_lifetime"),
		override: metadata{Authorization: fields.String(c, "authorization_endpoint"), Token: fields.String(c, "token_endpoint"),
			Introspection: fields.String(c, "introspection_endpoint"), EndSession: fields.String(c, "end_session_endpoint")},
		leeway: fields.Seconds(c, "leeway"), clock: env.Clock, http: newClient(fields.Bool(c, "ssl_verify"), fields.Duration(c, "timeout")),
		id: one("client_id"), secret: one("client_secret"), post: one("client_auth") == "client_secret_post"}
	if one("client_auth") == "none" {
		in.provider.secret = ""
	}
	var err error
	if in.sessions, err = newJars(c, env, "session", websession.Timeouts{Idling: fields.Seconds(c, "session_idling_timeout"),
		Rolling: fields.Seconds(c, "session_rolling_timeout"), Absolute: fields.Seconds(c, "session_absolute_timeout")}); err != nil {
		return nil, err
	}
	in.logins, err = newJars(c, env, "authorization", websession.Timeouts{Absolute: fields.Seconds(c, "authorization_rolling_timeout")})
	in.Gate = auth.NewGate(in, c, env)
	return in, err
}

func newJars(c schema.Record, env gateway.Env, kind string, o websession.Timeouts) (j jars, err error) {
	keeper := func(https bool) *websession.Keeper {
		secure, set := c[kind+"_cookie_secure"].(bool)
		k, e := websession.NewKeeper(websession.Config{Secret: fields.String(c, "session_secret"), Audience: kind + ":" + fields.String(c, "session_audience"),
			Cookie: websession.Cookie{Name: fields.String(c, kind+"_cookie_name"), Path: fields.String(c, kind+"_cookie_path"),
				Domain: fields.String(c, kind+"_cookie_domain"), SameSite: fields.String(c, kind+"_cookie_same_site"),
				HTTPOnly: fields.Bool(c, kind+"_cookie_http_only"), Secure: set && secure || !set && https},
			Timeouts: o, Clock: env.Clock, Directory: env.Directory, Records: env.Records})
		if e != nil {
			err = e
		}
		return k
	}
	return jars{keeper(false), keeper(true)}, err
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.provider.http.CloseIdleConnections()
	return nil
}

func (in *instance) takes(method string) bool { return slices.Contains(in.methods, method) }
