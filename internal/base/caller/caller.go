// Package caller carries who is calling, from where and under which request id through
// a context. Fronts put it in; services and the audit read it. There is one typed
// accessor per value and no other way in.
package caller

import (
	"context"
	"sync"

	"sluice.dev/sluice/internal/base/name"
)

// Identity is an authenticated principal.
type Identity struct {
	Account     string // twelve digits
	ARN         string // arn:aws:iam::123456789012:root, …:user/alice
	UserID      string // AIDA…; the account id for root
	UserName    string // empty for root
	AccessKeyID string // the key that signed, if one did
	Root        bool   // the account's root: identity policies do not limit it
}

// Request describes one call as it reached the node.
type Request struct {
	ID       string // one id through gateway, API, jobs and logs
	Region   string // of the credential scope; resources live there
	SourceIP string // without port
}

type identityKey struct{}
type requestKey struct{}
type ledgerKey struct{}

// With returns ctx with the identity.
func With(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// From returns the identity; ok is false for a context without one, and such a caller
// may do nothing.
func From(ctx context.Context) (id Identity, ok bool) {
	id, ok = ctx.Value(identityKey{}).(Identity)
	return id, ok
}

// WithRequest returns ctx with the request's description.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestOf returns the request's description, zero where there is none.
func RequestOf(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}

// Region returns the region the call is for, and the default one where it named none.
func Region(ctx context.Context) string {
	if r := RequestOf(ctx).Region; r != "" {
		return r
	}
	return "us-east-1"
}

// WithRegion returns ctx for a call that concerns a resource of another region than the one the request
// was signed for, as when a bucket's service uses a key of the bucket's region.
func WithRegion(ctx context.Context, region string) context.Context {
	r := RequestOf(ctx)
	r.Region = region
	return WithRequest(ctx, r)
}

// Ledger records which actions were authorised in the course of one call, so that a
// front can prove that an operation was not served without its check.
type Ledger struct {
	mu      sync.Mutex
	actions []name.Action
}

// WithLedger returns ctx with an empty ledger, and the ledger.
func WithLedger(ctx context.Context) (context.Context, *Ledger) {
	l := new(Ledger)
	return context.WithValue(ctx, ledgerKey{}, l), l
}

// Record notes that action was put to the authoriser. Only the authoriser calls it.
func Record(ctx context.Context, action name.Action) {
	if l, ok := ctx.Value(ledgerKey{}).(*Ledger); ok {
		l.mu.Lock()
		l.actions = append(l.actions, action)
		l.mu.Unlock()
	}
}

// Has reports whether action was put to the authoriser.
func (l *Ledger) Has(action name.Action) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.actions {
		if a == action {
			return true
		}
	}
	return false
}
