package oauth2

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	hashPrefix = "$pbkdf2-sha512$"
	iterations = 10_000
	hashSize   = 32
)

// hashSecret puts the hash in the place of a client's secret where that is wanted. What is
// a hash already stays.
func hashSecret(r schema.Record) {
	secret := fields.String(r, "client_secret")
	if !fields.Bool(r, "hash_secret") || strings.HasPrefix(secret, hashPrefix) {
		return
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails: crypto/rand aborts the program instead
	r["client_secret"] = hashed(secret, salt, iterations, hashSize)
}

func hashed(secret string, salt []byte, iterations, size int) string {
	sum, err := pbkdf2.Key(sha512.New, secret, salt, iterations, size)
	if err != nil {
		return "" // the sizes are bounded; no secret is equal to this
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("%si=%d,l=%d$%s$%s", hashPrefix, iterations, size, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// isSecret reports whether a secret is the client's.
func isSecret(client schema.Record, given string) bool {
	stored := fields.String(client, "client_secret")
	if given == "" || stored == "" {
		return false
	}
	if fields.Bool(client, "hash_secret") {
		parts := strings.Split(strings.TrimPrefix(stored, hashPrefix), "$")
		var n, size int
		if len(parts) != 3 {
			return false
		}
		if _, err := fmt.Sscanf(parts[0], "i=%d,l=%d", &n, &size); err != nil || n < 1 || n > 1_000_000 || size < 16 || size > 64 {
			return false
		}
		salt, err := base64.RawStdEncoding.DecodeString(parts[1])
		if err != nil {
			return false
		}
		given = hashed(given, salt, n, size)
	}
	return subtle.ConstantTimeCompare([]byte(given), []byte(stored)) == 1
}
