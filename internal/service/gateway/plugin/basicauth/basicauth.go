package basicauth

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const collection = "basicauth_credentials"

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "basic-auth", Version: gateway.Version, Priority: 1100, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{Fields: []*schema.Field{
			auth.Anonymous(), auth.HideCredentials(),
			{Name: "realm", Kind: schema.String, Required: true, Default: "service", Description: "Realm told in WWW-Authenticate."},
		}},
		Entities: []*schema.Entity{auth.Credential(
			schema.Entity{Name: collection, Path: "basic-auths", NestedPath: "basic-auth", EndpointKey: "username"},
			&schema.Field{Name: "username", Kind: schema.String, Required: true, Unique: true},
			&schema.Field{Name: "password", Kind: schema.String, Required: true, Encrypted: true, Seal: hash},
		)},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			in := &instance{directory: env.Directory,
				failed: auth.Failure{Message: "Unauthorized", Challenge: auth.Challenge("Basic", c)}}
			in.hide, _ = c["hide_credentials"].(bool)
			return auth.NewGate(in, c, env), nil
		},
	}
}

// hash is what is stored of a password.
func hash(password string, r schema.Record) string {
	consumer, _ := r["consumer"].(schema.Record)
	id, _ := consumer["id"].(string)
	sum := sha1.Sum([]byte(password + id))
	return hex.EncodeToString(sum[:])
}

type instance struct {
	directory gateway.Directory
	hide      bool
	failed    auth.Failure
}

// Authenticate implements auth.Method. Proxy-Authorization goes before Authorization.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	for _, header := range []string{"Proxy-Authorization", "Authorization"} {
		username, password, ok := auth.Parse("basic", x.Request.Header.Get(header))
		if !ok {
			continue
		}
		cred, known := in.directory.ByUnique(collection, "username", username)
		stored, _ := cred["password"].(string)
		given := hash(password, cred) // also of an unknown user, so that both take as long
		if subtle.ConstantTimeCompare([]byte(given), []byte(stored)) != 1 || !known {
			return &in.failed
		}
		if in.hide {
			x.Request.Header.Del(header)
		}
		if !auth.Accept(x, in.directory, cred, username) {
			return &in.failed
		}
		return nil
	}
	return &in.failed
}
