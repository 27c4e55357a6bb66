package gateway

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"regexp"
	"slices"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// vaultTypes are the kinds of vault there are; a vault entity must not be called like one.
var vaultTypes = []string{"env"}

var vaultPrefix = regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`)

var vaults = &schema.Entity{
	Name: "vaults", EndpointKey: "prefix",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldCreated, fieldUpdated,
		{Name: "prefix", Kind: schema.String, Required: true, Unique: true, Check: checkVaultPrefix,
			Description: "What references name the vault by: {vault://prefix/secret}."},
		{Name: "name", Kind: schema.String, Required: true, Check: func(v any) string {
			if !slices.Contains(vaultTypes, v.(string)) {
				return "vault '" + v.(string) + "' is not installed"
			}
			return ""
		}, Description: "Kind of vault: env."},
		{Name: "description", Kind: schema.String},
		{Name: "config", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
			{Name: "prefix", Kind: schema.String, Check: func(v any) string {
				if !envName.MatchString(v.(string)) {
					return "invalid value: " + v.(string)
				}
				return ""
			}, Description: "Put before the names of the environment's variables."},
		}},
		fieldTags,
	}},
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func checkVaultPrefix(v any) string {
	s := v.(string)
	switch {
	case slices.Contains(vaultTypes, s):
		return "expected not to be a vault type: " + s
	case !vaultPrefix.MatchString(s):
		return "invalid value: " + s
	}
	return ""
}

var keySets = &schema.Entity{
	Name: "key_sets", Path: "key-sets", EndpointKey: "name",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldName, fieldCreated, fieldUpdated, fieldTags,
	}},
}

var keys = &schema.Entity{
	Name: "keys", EndpointKey: "name", UniqueTogether: []string{"kid", "set"},
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID,
		{Name: "set", Kind: schema.Foreign, Reference: "key_sets", Cascade: true},
		fieldName,
		{Name: "kid", Kind: schema.String, Required: true, Description: "Identifies the key in its set."},
		{Name: "jwk", Kind: schema.String, Referenceable: true, Encrypted: true, Check: checkJWK,
			Description: "The key as a JSON Web Key (RFC 7517), in text."},
		{Name: "pem", Kind: schema.Nested, Fields: []*schema.Field{
			{Name: "private_key", Kind: schema.String, Referenceable: true, Encrypted: true, Check: checkPrivateKey},
			{Name: "public_key", Kind: schema.String, Referenceable: true, Check: checkPublicKey},
		}, Checks: []schema.Check{{AtLeastOneOf: []string{"private_key", "public_key"}}}},
		fieldTags, fieldCreated, fieldUpdated,
	}, Checks: []schema.Check{
		{OnlyOneOf: []string{"jwk", "pem"}},
		{Custom: func(r schema.Record, bad func(field, msg string)) {
			text, ok := r["jwk"].(string)
			if !ok || isReference(text) {
				return
			}
			var jwk struct {
				Kid *string `json:"kid"`
			}
			if json.Unmarshal([]byte(text), &jwk) == nil && (jwk.Kid == nil || *jwk.Kid != r["kid"]) {
				bad("", "kid in jwk.kid must be equal to keys.kid")
			}
		}},
	}},
}

func checkJWK(v any) string {
	if isReference(v.(string)) {
		return ""
	}
	var jwk struct {
		Kty string `json:"kty"`
	}
	if err := json.Unmarshal([]byte(v.(string)), &jwk); err != nil {
		return "could not json decode jwk string"
	}
	if jwk.Kty == "" {
		return "invalid JWK: missing kty"
	}
	return ""
}

// checkPrivateKey and checkPublicKey check that a text is PEM with a key that can be read.
func checkPrivateKey(v any) string {
	if isReference(v.(string)) {
		return ""
	}
	if _, err := ParsePrivateKey(v.(string)); err != nil {
		return "could not load private key"
	}
	return ""
}

func checkPublicKey(v any) string {
	if isReference(v.(string)) {
		return ""
	}
	err := errors.New("no block of a public key")
	switch block, _ := pem.Decode([]byte(v.(string))); {
	case block == nil:
	case block.Type == "PUBLIC KEY":
		_, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		_, err = x509.ParsePKCS1PublicKey(block.Bytes)
	}
	if err != nil {
		return "could not load public key"
	}
	return ""
}
