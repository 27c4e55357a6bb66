package auth

import (
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// HTTP are the protocols that authentication can be configured for.
var HTTP = []string{"grpc", "grpcs", "http", "https"}

// NoScopes are the scopes that authentication does not have: the consumer is not known
// before.
var NoScopes = []string{"consumer"}

// HideCredentials is the flag that keeps credentials from the upstream.
func HideCredentials() *schema.Field {
	return schema.Flag("hide_credentials", "Do not pass the credential on.", false)
}

// Anonymous names the consumer of requests that fail.
func Anonymous() *schema.Field {
	return &schema.Field{Name: "anonymous", Kind: schema.String,
		Description: "Consumer, by id or username, of requests that fail authentication."}
}

// Preflight says whether OPTIONS requests are authenticated.
func Preflight() *schema.Field {
	return schema.Flag("run_on_preflight", "Authenticate OPTIONS requests too.", true)
}

// Realm is told in the challenge.
func Realm() *schema.Field {
	return &schema.Field{Name: "realm", Kind: schema.String, Description: "Realm told in WWW-Authenticate."}
}

// Consumer is the owner of a credential, with which it is deleted.
func Consumer() *schema.Field {
	return &schema.Field{Name: "consumer", Kind: schema.Foreign, Reference: "consumers", Required: true, Cascade: true}
}

// Credential describes a collection of credentials with the given fields beside those that
// all of them have.
func Credential(e schema.Entity, fields ...*schema.Field) *schema.Entity {
	id, created, _, tags := gateway.Shared()
	e.Record = &schema.Field{Kind: schema.Nested, Fields: append([]*schema.Field{id, created, Consumer()}, append(fields, tags)...)}
	return &e
}

// Challenge is a WWW-Authenticate of a scheme, with a realm where the configuration has
// one.
func Challenge(scheme string, config schema.Record) string {
	realm, _ := config["realm"].(string)
	if realm == "" {
		return scheme
	}
	return scheme + ` realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `"`
}
