package awswire

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
)

// Credentials looks up access keys.
//
// An error of the kind NotFound says that there is no such active key, Unauthenticated that
// it has expired; every other error refuses the call as unavailable or internal.
type Credentials interface {
	Lookup(ctx context.Context, accessKeyID string) (Credential, error)
}

// Credential is an access key with whom it stands for.
type Credential struct {
	Secret       string
	SessionToken string // which requests must present too; empty for long-lived keys
	Identity     caller.Identity
}

// window is how far the clocks of client and node may be apart.
const window = 15 * time.Minute

// verifier checks signatures.
type verifier struct {
	credentials Credentials
	now         func() time.Time
	keys        keyCache
}

// admit checks what needs no body and no arithmetic: that the key exists and belongs to the
// token, that the time is right, and that the scope is for service. Strangers get no further, so
// that nobody's body is read who has no key.
func (v *verifier) admit(ctx context.Context, a authorization, service string, s3 bool) (Credential, error) {
	if a.scope.service != service {
		return Credential{}, failf(wrongSignature, "Credential should be scoped to correct service: '%s'.", service)
	}
	credential, err := v.credentials.Lookup(ctx, a.scope.key)
	if err != nil {
		return Credential{}, lookupFailure(err, s3)
	}
	if subtle.ConstantTimeCompare([]byte(credential.SessionToken), []byte(a.token)) != 1 {
		return Credential{}, failf(wrongToken, "The security token included in the request is invalid.")
	}
	return credential, v.timely(a, s3)
}

// prove checks the signature of an admitted request and returns the key that made it, with
// which the chunks of a body are signed too.
func (v *verifier) prove(a authorization, credential Credential, c *canonical) ([]byte, error) {
	if err := covers(a.signed, c.header, c.s3); err != nil {
		return nil, err
	}
	key, cached := v.keys.get(a.scope, credential.Secret)
	if !cached {
		key = a.scope.signingKey(credential.Secret)
	}
	if !matches(a, key, c) {
		if c.s3 {
			return nil, failf(wrongSignature, "The request signature we calculated does not match the signature you provided. Check your key and signing method.")
		}
		return nil, failf(wrongSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if !cached { // only now: a stranger must not fill the cache with scopes of his invention
		v.keys.put(a.scope, credential.Secret, key)
	}
	return key, nil
}

func matches(a authorization, key []byte, c *canonical) bool {
	equal := func() bool {
		want := sign(key, stringToSign(a.time, a.scope, c.hash()))
		return subtle.ConstantTimeCompare([]byte(want), []byte(a.signature)) == 1
	}
	if equal() {
		return true
	}
	// Some clients sign S3's path as they send it, with fewer or more characters encoded than
	// the rule says. It names the same object either way.
	if !c.s3 || canonicalPath(c.path, true) == c.path {
		return false
	}
	c.verbatim = true
	return equal()
}

func lookupFailure(err error, s3 bool) error {
	f := &fail{cause: err}
	switch fault.KindOf(err) {
	case fault.NotFound:
		f.what, f.message = unknownKey, "The security token included in the request is invalid."
		if s3 {
			f.message = "The AWS Access Key Id you provided does not exist in our records."
		}
	case fault.Unauthenticated:
		f.what, f.message = expiredToken, "The security token included in the request is expired"
	case fault.Unavailable, fault.Canceled:
		f.what, f.message = unavailable, "The credentials cannot be checked now. Please try again."
	default:
		f.what, f.message = broken, "We encountered an internal error. Please try again."
	}
	return f
}

// timely checks the time of the signature against our own.
func (v *verifier) timely(a authorization, s3 bool) error {
	now := v.now().UTC()
	iso := func(t time.Time) string { return t.UTC().Format(dateForm) }
	early, late := a.time.Sub(now) > window, now.Sub(a.time) > window
	switch {
	case a.presigned && s3 && early:
		return failf(linkNotYet, "Request is not yet valid")
	case a.presigned && now.After(a.time.Add(a.expires)):
		if s3 {
			return failf(linkExpired, "Request has expired")
		}
		return failf(linkExpired, "Signature expired: %s is now earlier than %s", iso(a.time.Add(a.expires)), iso(now))
	case a.presigned && !early:
		return nil
	case s3 && (early || late):
		return failf(skewed, "The difference between the request time and the current time is too large.")
	case early:
		return failf(skewed, "Signature not yet current: %s is still later than %s (%s + 15 min.)", iso(a.time), iso(now.Add(window)), iso(now))
	case late:
		return failf(skewed, "Signature expired: %s is now earlier than %s (%s - 15 min.)", iso(a.time), iso(now.Add(-window)), iso(now))
	}
	return nil
}

// covers checks that the host and every x-amz- header there is are signed: what is not could
// be changed on the way.
func covers(signed []string, h http.Header, s3 bool) error {
	missing := ""
	if !slices.Contains(signed, "host") {
		missing = "host"
	}
	for name := range h {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			missing = name
			break
		}
	}
	switch {
	case missing == "":
		return nil
	case s3:
		return failf(unsignedHeader, "There were headers present in the request which were not signed: %s", clip(missing))
	default:
		return failf(unsignedHeader, "'%s' must be a 'SignedHeader' in the AWS Authorization.", clip(missing))
	}
}

// keyCache remembers derived signing keys, which take four HMACs each and are good for a
// day. It is bounded by being emptied when it is full.
type keyCache struct {
	mu   sync.RWMutex
	keys map[scope]derived
}

type derived struct{ secret, key []byte }

const maxKeys = 1024

func (c *keyCache) get(s scope, secret string) ([]byte, bool) {
	c.mu.RLock()
	d, ok := c.keys[s]
	c.mu.RUnlock()
	// A key that was replaced has another secret: its derived key is no longer good.
	if !ok || subtle.ConstantTimeCompare(d.secret, []byte(secret)) != 1 {
		return nil, false
	}
	return d.key, true
}

func (c *keyCache) put(s scope, secret string, key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= maxKeys {
		c.keys = map[scope]derived{}
	}
	c.keys[s] = derived{secret: []byte(secret), key: key}
}

// validHash reports whether s is a hexadecimal SHA-256.
func validHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}
