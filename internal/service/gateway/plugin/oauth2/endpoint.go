package oauth2

import (
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// problem is an error as RFC 6749 has it; the zero value stands for none.
type problem struct{ code, description string }

func (p problem) body(state string) []byte {
	return marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		State       string `json:"state,omitempty"`
	}{p.code, p.description, state})
}

// The problems that can arise in several places.
var (
	invalidClient   = problem{"invalid_client", "Invalid client authentication"}
	invalidCode     = problem{"invalid_request", "Invalid code"}
	invalidRefresh  = problem{"invalid_request", "Invalid refresh_token"}
	invalidKey      = problem{"invalid_provision_key", "Invalid provision_key"}
	missingUser     = problem{"invalid_authenticated_userid", "Missing authenticated_userid parameter"}
	invalidRedirect = problem{"invalid_request", "Invalid redirect_uri that does not match with any redirect_uri created with the application"}
)

func marshal(v any) []byte {
	b, _ := gateway.EncodeJSON(v) // strings and numbers always marshal
	return b
}

// call is a call of one of the endpoints.
type call struct {
	x      *gateway.Exchange
	values map[string]string // of the parameters that are there, once each
}

var parameters = []string{"response_type", "grant_type", "client_id", "client_secret", "redirect_uri", "scope", "state", "code",
	"code_challenge", "code_challenge_method", "code_verifier", "refresh_token", "provision_key", "authenticated_userid"}

// serve answers a call of an endpoint.
func (in *instance) serve(x *gateway.Exchange, name string, endpoint func(*call)) {
	if x.Request.Method != "POST" {
		p := problem{"invalid_method", "The HTTP method " + x.Request.Method + " is invalid for the " + name + " endpoint"}
		x.Response.Header.Add("WWW-Authenticate", in.challenge+` error="`+p.code+`" error_description="`+p.description+`"`)
		(&call{x: x}).answer(405, p.body(""))
		return
	}
	c := &call{x: x, values: map[string]string{}}
	for _, p := range parameters {
		v, n := parameter(x, p)
		if n > 1 { // which of them counts, another reader may see otherwise
			c.answer(400, problem{"invalid_request", "The parameter " + p + " is repeated"}.body(""))
			return
		}
		if n == 1 {
			c.values[p] = v
		}
	}
	if x.Request.Scheme != "https" && (!in.terminated || !strings.EqualFold(x.Request.Forwarded.Proto, "https")) {
		c.answer(400, problem{"access_denied", "You must use HTTPS"}.body(c.values["state"]))
		return
	}
	endpoint(c)
}

func (c *call) answer(status int, body []byte) {
	c.x.Respond(status, body, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"},
		gateway.Field{Name: "Cache-Control", Value: "no-store"}, gateway.Field{Name: "Pragma", Value: "no-cache"})
}

// failed logs why the store could not keep something, and says that something is wrong.
func (in *instance) failed(c *call, err error) {
	in.env.Log.Error("tokens cannot be kept", "err", err, "request_id", c.x.ID())
	c.x.Fail(500, "An unexpected error occurred")
}

// provisioned reports whether the caller is the owner's application.
func (in *instance) provisioned(c *call) bool {
	return in.provisionKey != "" && subtle.ConstantTimeCompare([]byte(c.values["provision_key"]), []byte(in.provisionKey)) == 1
}

// scope returns the scopes asked for.
func (in *instance) scope(c *call) (string, problem) {
	asked, given := c.values["scope"]
	if !given {
		if in.mandatory {
			return "", problem{"invalid_scope", "You must specify a scope"}
		}
		return "", problem{}
	}
	if in.scopes == nil {
		return "", problem{}
	}
	all := strings.Fields(asked)
	for _, s := range all {
		if !slices.Contains(in.scopes, s) {
			return "", problem{"invalid_scope", `"` + s + `" is an invalid scope`}
		}
	}
	if len(all) == 0 && in.mandatory {
		return "", problem{"invalid_scope", "You must specify a scope"}
	}
	return strings.Join(all, " "), problem{}
}

// application finds the client by its id.
func (in *instance) application(id string) (client schema.Record, redirects []string) {
	if id == "" {
		return nil, nil
	}
	client, _ = in.env.Directory.ByUnique(clients, "client_id", id)
	return client, fields.Strings(client, "redirect_uris")
}

// redirect returns where the client wants the answer to go: what it says, or else the first
// URI that is registered.
func (c *call) redirect(registered []string) (uri string, ok bool) {
	uri, given := c.values["redirect_uri"]
	if !given {
		uri = registered[0]
	}
	return uri, slices.Contains(registered, uri)
}

// needsProof reports whether a client's codes need one.
func (in *instance) needsProof(client schema.Record) bool {
	return in.pkce == "strict" || in.pkce == "lax" && fields.String(client, "client_type") == "public"
}

// credentials returns what the client authenticates itself by, and whether that was in the
// header.
func (in *instance) credentials(c *call) (id, secret string, header bool) {
	id, secret = c.values["client_id"], c.values["client_secret"]
	if id != "" && secret != "" {
		return id, secret, false
	}
	given, ok := c.x.Request.Header.Lookup(in.header)
	if !ok {
		return id, secret, false
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(given), " ")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil || !strings.EqualFold(scheme, "basic") {
		return "", "", true
	}
	id, secret, _ = strings.Cut(string(raw), ":")
	return id, secret, true
}
