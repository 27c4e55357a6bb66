package oauth2

import (
	"net/url"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// The collections.
const (
	clients = "oauth2_credentials"
	codes   = "oauth2_authorization_codes"
	tokens  = "oauth2_tokens"
)

func entities() []*schema.Entity {
	id, created, _, tags := gateway.Shared()
	text := func(name string) *schema.Field { return &schema.Field{Name: name, Kind: schema.String} }
	secret := func(name string, auto bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.String, Unique: true, Auto: auto, Secret: true, Encrypted: true}
	}
	belongs := func(name, to string, required bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Foreign, Reference: to, Required: required, Cascade: true}
	}
	client := auth.Credential(
		schema.Entity{Name: clients, Path: "oauth2", EndpointKey: "client_id", Derive: hashSecret},
		&schema.Field{Name: "name", Kind: schema.String, Required: true},
		&schema.Field{Name: "client_id", Kind: schema.String, Unique: true, Auto: true},
		&schema.Field{Name: "client_secret", Kind: schema.String, Auto: true, Encrypted: true},
		schema.Flag("hash_secret", "Keep the secret as its hash.", false),
		&schema.Field{Name: "redirect_uris", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkRedirect}},
		fields.Choice("client_type", []string{"confidential", "public"}, schema.Required, schema.Default("confidential")),
	)
	return []*schema.Entity{
		client,
		{Name: codes, Private: true, Expires: true, Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			id, created, belongs("service", "services", false), belongs("credential", clients, true), belongs("plugin", "plugins", false),
			secret("code", true), text("authenticated_userid"), text("scope"), text("redirect_uri"), text("challenge"),
		}}},
		{Name: tokens, EndpointKey: "access_token", Expires: true, Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			id, created, belongs("service", "services", false), belongs("credential", clients, true),
			fields.Choice("token_type", []string{"bearer"}, schema.Required, schema.Default("bearer")),
			{Name: "expires_in", Kind: schema.Integer, Required: true},
			secret("access_token", true), secret("refresh_token", false), text("authenticated_userid"), text("scope"), tags,
		}}},
	}
}

// checkRedirect takes an absolute URI without a fragment (RFC 6749 section 3.1.2).
func checkRedirect(v any) string {
	s := v.(string)
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "":
		return "cannot parse '" + s + "'"
	case u.Fragment != "" || s[len(s)-1] == '#':
		return "fragment not allowed in '" + s + "'"
	}
	return ""
}
