package session

import (
	"encoding/json"
	"slices"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/websession"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	text := func(name, description string, by any) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Description: description, Default: by}
	}
	seconds := func(name, description string, by float64) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Number, Description: description, Default: by, Between: []float64{0, 1e8}}
	}
	flag := func(name, description string, by bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Boolean, Description: description, Default: by}
	}
	facts := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Set, Description: description,
			Elements: &schema.Field{Kind: schema.String, OneOf: fields.Any(websession.Facts...)}}
	}
	cookieName := func(name, description, by string) *schema.Field {
		f := text(name, description, by)
		f.Check = gateway.CheckHeaderName // a cookie's name is a token too
		return f
	}
	return gateway.Plugin{
		Name: "session", Version: gateway.Version, Priority: 1900, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{
			Fields: []*schema.Field{
				{Name: "secret", Kind: schema.String, Auto: true, Encrypted: true, Referenceable: true, Description: "Secret that cookies are sealed by."},
				fields.Choice("storage", []string{"cookie", "kong"}, schema.Default("cookie"), schema.Describe("What holds the data.")),
				text("audience", "Whom the session is for.", "default"),
				seconds("idling_timeout", "Seconds without a request after which the session ends.", 900),
				seconds("rolling_timeout", "Seconds after which the session has to be issued anew.", 3600),
				seconds("absolute_timeout", "Seconds after which the session ends in any case.", 86400),
				seconds("stale_ttl", "Seconds for which the old cookie can be used when there is a new one.", 10),
				cookieName("cookie_name", "Name of the cookie.", "session"),
				text("cookie_path", "Path of the cookie.", "/"),
				text("cookie_domain", "Domain of the cookie.", nil),
				fields.Choice("cookie_same_site", []string{"Strict", "Lax", "None", "Default"}, schema.Default("Strict"),
					schema.Describe("Whether other sites' requests have the cookie.")),
				flag("cookie_http_only", "Keep the cookie from scripts.", true),
				flag("cookie_secure", "Send the cookie over HTTPS alone.", true),
				flag("remember", "Give the browser a second cookie that outlives it.", false),
				cookieName("remember_cookie_name", "Name of the second cookie.", "remember"),
				seconds("remember_rolling_timeout", "Seconds after which it has to be issued anew.", 604800),
				seconds("remember_absolute_timeout", "Seconds after which it ends in any case.", 2592000),
				facts("response_headers", "What the client is told in headers."),
				facts("request_headers", "What the upstream is told in headers."),
				flag("read_body_for_logout", "Look for logout_post_arg in bodies.", false),
				{Name: "logout_methods", Kind: schema.Set, Default: fields.Any("POST", "DELETE"), Description: "Methods by which a session can be ended.",
					Elements: &schema.Field{Kind: schema.String, OneOf: fields.Any("GET", "POST", "DELETE")}},
				text("logout_query_arg", "Query parameter that ends the session.", "session_logout"),
				text("logout_post_arg", "Field of a body that ends the session.", "session_logout"),
			},
			Shorthands: []schema.Shorthand{
				{Name: "cookie_lifetime", Kind: schema.Number, Path: "rolling_timeout"},
				{Name: "cookie_idletime", Kind: schema.Number, Path: "idling_timeout"},
				{Name: "cookie_renew", Kind: schema.Number}, // of a session library that is gone
				{Name: "cookie_discard", Kind: schema.Number, Path: "stale_ttl"},
				{Name: "cookie_samesite", Kind: schema.String, Path: "cookie_same_site", Value: func(v any) any {
					if v == "off" {
						return "Lax"
					}
					return v
				}},
				{Name: "cookie_httponly", Kind: schema.Boolean, Path: "cookie_http_only"},
				{Name: "cookie_persistent", Kind: schema.Boolean, Path: "remember"},
			},
		},
		Entities: websession.Entities(),
		New:      newInstance,
	}
}

type instance struct {
	env      gateway.Env
	keeper   *websession.Keeper
	requests []string // facts the upstream is told
	answers  []string // facts the client is told
	logout   websession.Logout
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{env: env, requests: fields.Strings(c, "request_headers"), answers: fields.Strings(c, "response_headers"),
		logout: websession.Logout{Methods: fields.Strings(c, "logout_methods"), Arg: fields.String(c, "logout_query_arg")}}
	if fields.Bool(c, "read_body_for_logout") {
		in.logout.Field = fields.String(c, "logout_post_arg")
	}
	cookie := websession.Cookie{Name: fields.String(c, "cookie_name"), Path: fields.String(c, "cookie_path"), Domain: fields.String(c, "cookie_domain"),
		SameSite: fields.String(c, "cookie_same_site"), HTTPOnly: fields.Bool(c, "cookie_http_only"), Secure: fields.Bool(c, "cookie_secure")}
	w := websession.Config{Cookie: cookie, Secret: fields.String(c, "secret"), Audience: fields.String(c, "audience"),
		Timeouts: websession.Timeouts{Idling: fields.Seconds(c, "idling_timeout"), Rolling: fields.Seconds(c, "rolling_timeout"),
			Absolute: fields.Seconds(c, "absolute_timeout")},
		StaleTTL: fields.Seconds(c, "stale_ttl"), Stored: fields.String(c, "storage") == "kong",
		Clock: env.Clock, Directory: env.Directory, Records: env.Records}
	if fields.Bool(c, "remember") {
		cookie.Name = fields.String(c, "remember_cookie_name")
		w.Remember = &cookie
		w.RememberTimeouts = websession.Timeouts{Rolling: fields.Seconds(c, "remember_rolling_timeout"), Absolute: fields.Seconds(c, "remember_absolute_timeout")}
	}
	var err error
	in.keeper, err = websession.NewKeeper(w)
	return in, err
}

// holder is what a session holds.
type holder struct {
	Consumer   string   `json:"consumer"`
	Credential string   `json:"credential"`
	Groups     []string `json:"groups,omitempty"`
}

// key is under what an exchange keeps its session.
type key struct{}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	s := in.keeper.Open(x)
	if s == nil {
		in.keeper.Tell(&x.Request.Header, in.requests, nil)
		return
	}
	x.Put(key{}, s)
	if in.logout.Asked(x) {
		if in.end(x, s) {
			x.Respond(200, nil)
		} else {
			x.Fail(500, "An unexpected error occurred")
		}
		return
	}
	var h holder
	c, ok := (*gateway.Consumer)(nil), json.Unmarshal(s.Data(), &h) == nil
	if ok {
		c, ok = in.env.Directory.Consumer(h.Consumer)
	}
	if !ok {
		in.end(x, s)
		in.keeper.Tell(&x.Request.Header, in.requests, nil)
		return
	}
	in.keeper.Tell(&x.Request.Header, in.requests, s)
	if h.Groups != nil {
		x.SetGroups(h.Groups)
	}
	x.Authenticate(c, &gateway.Credential{ID: h.Credential, ConsumerID: c.ID, Identifier: h.Credential})
}

// end ends a session, and reports whether it could.
func (in *instance) end(x *gateway.Exchange, s *websession.Session) bool {
	err := in.keeper.Destroy(x.Context(), s)
	if err != nil {
		in.env.Log.Error("a session cannot be ended", "err", err, "request_id", x.ID())
	}
	return err == nil
}

// HeaderFilter implements gateway.HeaderFilter. Sessions begin here, when every plugin that
// authenticates has had its say.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	s, _ := x.Value(key{}).(*websession.Session)
	if c, cred := x.Consumer(), x.Credential(); c != nil && cred != nil {
		is := holder{Consumer: c.ID, Credential: cred.ID, Groups: slices.Clone(x.Groups())}
		if is.Credential == "" {
			is.Credential = c.ID
		}
		var was holder
		if s == nil || s.Ended() || json.Unmarshal(s.Data(), &was) != nil || was.Consumer != is.Consumer || was.Credential != is.Credential {
			data, _ := json.Marshal(is) // strings always marshal
			s = in.keeper.Start(subject(c), data)
		}
	}
	if s == nil {
		return
	}
	if err := in.keeper.Write(x, s); err != nil {
		in.env.Log.Error("a session cannot be kept", "err", err, "request_id", x.ID())
		return
	}
	if !s.Ended() {
		in.keeper.Tell(&x.Response.Header, in.answers, s)
	}
}

func subject(c *gateway.Consumer) string {
	for _, name := range []string{c.Username, c.CustomID} {
		if name != "" {
			return name
		}
	}
	return c.ID
}
