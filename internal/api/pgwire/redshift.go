package pgwire

import (
	"crypto/subtle"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"sluice.dev/sluice/internal/base/caller"
)

// redshiftDriver reports whether a client is one of Amazon Redshift's drivers, which know
// no SCRAM.
func redshiftDriver(parameters map[string]string) bool {
	version := parameters["driver_version"]
	return parameters["client_protocol_version"] != "" && (strings.Contains(version, "Redshift") || strings.Contains(version, "redshift"))
}

// authenticateClear takes the password in clear text, for clients that cannot do better
// and only inside TLS.
func (c *conn) authenticateClear(user string) (caller.Identity, error) {
	secret, id, lookupErr := c.server.deps.Passwords.SQLPassword(c.ctx, user)
	if lookupErr != nil || secret == "" {
		secret = string(c.server.derive("secret", user))
	}
	c.be.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := c.be.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
		return id, err
	}
	if err := c.be.Flush(); err != nil {
		return id, err
	}
	message, err := c.be.Receive()
	if err != nil {
		return id, err
	}
	given, ok := message.(*pgproto3.PasswordMessage)
	if !ok || subtle.ConstantTimeCompare([]byte(given.Password), []byte(secret)) != 1 || lookupErr != nil {
		return id, errPassword
	}
	return id, nil
}
