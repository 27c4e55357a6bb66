package oauth2

import (
	"encoding/base64"
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// codeLife is how long a code is good, in seconds.
const codeLife = 300.0

// authorize answers the owner's application, which has authenticated a user: with where to
// send the user's browser.
func (in *instance) authorize(c *call) {
	state := c.values["state"]
	if !in.provisioned(c) {
		c.answer(400, invalidKey.body(state))
		return
	}
	user := c.values["authenticated_userid"]
	if strings.TrimSpace(user) == "" {
		c.answer(400, missingUser.body(state))
		return
	}
	client, registered := in.application(c.values["client_id"])
	if len(registered) == 0 {
		c.answer(400, invalidClient.body(state))
		return
	}
	kind := c.values["response_type"]
	uri, known := c.redirect(registered)
	challenge, wrong := challengeOf(c)
	scope, wrongScope := in.scope(c)
	var p problem
	switch {
	case wrong != problem{}:
		p = wrong
	case challenge == "" && in.needsProof(client):
		p = problem{"invalid_request", "code_challenge is required for " + fields.String(client, "client_type") + " clients"}
	case !known:
		p = invalidRedirect
	case wrongScope != problem{}:
		p = wrongScope
	case (kind != "code" || !in.codeGrant) && (kind != "token" || !in.implicit):
		p = problem{"unsupported_response_type", "Invalid response_type"}
	}
	if !known {
		uri = registered[0]
	}
	values := url.Values{}
	if state != "" {
		values.Set("state", state)
	}
	if (p != problem{}) {
		values.Set("error", p.code)
		values.Set("error_description", p.description)
		c.answer(400, location(uri, values, false))
		return
	}
	if kind == "token" {
		token, err := in.newToken(c.x, client, user, scope, false)
		if err != nil {
			in.failed(c, err)
			return
		}
		for k, v := range token.pairs() {
			values.Set(k, v)
		}
		c.answer(200, location(uri, values, true))
		return
	}
	r := schema.Record{"credential": schema.Record{"id": client["id"]}, "plugin": ref(in.env.ID), "authenticated_userid": user,
		"redirect_uri": uri, "ttl": codeLife}
	if !in.global {
		r["service"] = ref(serviceID(c.x))
	}
	setText(r, "scope", scope)
	setText(r, "challenge", challenge)
	kept, err := in.env.Records.Create(c.x.Context(), codes, r)
	if err != nil {
		in.failed(c, err)
		return
	}
	values.Set("code", fields.String(kept, "code"))
	c.answer(200, location(uri, values, false))
}

// challengeOf returns the challenge for the proof of the client, "" for none.
func challengeOf(c *call) (string, problem) {
	challenge, given := c.values["code_challenge"]
	method, hasMethod := c.values["code_challenge_method"]
	if !given || challenge == "" {
		if hasMethod {
			return "", problem{"invalid_request", "code_challenge is required when code_method is present"}
		}
		return "", problem{}
	}
	if hasMethod && !strings.EqualFold(method, "S256") {
		return "", problem{"invalid_request", "code_challenge_method is not supported, must be S256"}
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(challenge, "="))
	if err != nil || len(raw) != 32 {
		return "", problem{"invalid_request", "code_challenge is not the SHA-256 of a code_verifier"}
	}
	return base64.RawURLEncoding.EncodeToString(raw), problem{}
}

// location is the answer that sends a browser to a URI with values added to its query, or
// to its fragment. What the URI has of its own stays.
func location(uri string, values url.Values, fragment bool) []byte {
	u, err := url.Parse(uri)
	if err != nil { // it was checked when it was registered
		return marshal(map[string]string{})
	}
	if fragment {
		return marshal(map[string]string{"redirect_uri": uri + "#" + values.Encode()})
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += values.Encode()
	return marshal(map[string]string{"redirect_uri": u.String()})
}

// setText sets a field where there is something to set.
func setText(r schema.Record, name, v string) {
	if v != "" {
		r[name] = v
	}
}
