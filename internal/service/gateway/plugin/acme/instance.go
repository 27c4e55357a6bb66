package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	// managed tags certificates and snis of this plugin, by Kong's name for it.
	managed = "managed-by-acme"
	// maxOrders bounds the orders an instance has under way.
	maxOrders = 4
	// orderTimeout bounds one order.
	orderTimeout = 5 * time.Minute
	// renewEvery is how often certificates are looked through for those that end soon.
	renewEvery = time.Hour
	// cleanup bounds what is written when an order has ended, even by cancellation.
	cleanup = 5 * time.Second
	// lockLife is how long other nodes leave a domain to one that does not come back. An
	// order and what is written after it are over by then.
	lockLife = orderTimeout + 2*cleanup
)

type instance struct {
	kind    *kind
	env     gateway.Env
	storage storage

	email, directory, chain string
	account                 schema.Record // account_key; nil: one is made
	eab                     *acme.ExternalAccountBinding
	ecc                     bool
	bits                    int
	threshold, backoff      time.Duration
	exact                   map[string]bool
	suffixes                []string
	any                     bool

	ctx    context.Context // ends when the instance is closed
	cancel context.CancelFunc
	wake   chan struct{} // renew now
	work   sync.WaitGroup
	mu     sync.Mutex
	closed bool
	busy   map[string]bool // domains with an order under way
}

func (k *kind) newInstance(c schema.Record, env gateway.Env) (*instance, error) {
	in := &instance{
		kind: k, env: env, email: fields.String(c, "account_email"), chain: fields.String(c, "preferred_chain"),
		ecc: fields.String(c, "cert_type") == "ecc", bits: fields.Int(c, "rsa_key_size"),
		threshold: span(c, "renew_threshold_days", 24*time.Hour), backoff: span(c, "fail_backoff_minutes", time.Minute),
		exact: map[string]bool{}, any: fields.Bool(c, "allow_any_domain"),
		wake: make(chan struct{}, 1), busy: map[string]bool{},
	}
	in.account, _ = c["account_key"].(schema.Record)
	for _, d := range fields.Strings(c, "domains") {
		d = strings.ToLower(d)
		if suffix, wild := strings.CutPrefix(d, "*"); wild {
			in.suffixes = append(in.suffixes, suffix)
		} else {
			in.exact[d] = true
		}
	}
	u, err := url.Parse(fields.String(c, "api_uri"))
	if err != nil {
		return nil, fmt.Errorf("api_uri: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/directory"
	}
	in.directory = u.String()
	if kid, key := fields.String(c, "eab_kid"), fields.String(c, "eab_hmac_key"); kid != "" && key != "" {
		secret, err := decodeKey(key)
		if err != nil {
			return nil, fmt.Errorf("eab_hmac_key is not base64url")
		}
		in.eab = &acme.ExternalAccountBinding{KID: kid, Key: secret}
	}
	in.storage = k.newStorage(c, env)
	in.ctx, in.cancel = context.WithCancel(context.Background())
	in.work.Go(in.keepRenewing)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.instances[env.ID] = in
	return in, nil
}

func span(c schema.Record, name string, unit time.Duration) time.Duration {
	n, _ := c[name].(float64)
	return time.Duration(n * float64(unit))
}

// Close implements gateway.Closer.
func (in *instance) Close(ctx context.Context) error {
	in.kind.mu.Lock()
	if in.kind.instances[in.env.ID] == in { // else its successor is there already
		delete(in.kind.instances, in.env.ID)
	}
	in.kind.mu.Unlock()
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.cancel()
	ended := make(chan struct{})
	go func() { in.work.Wait(); in.storage.close(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// allows reports whether certificates are obtained for a domain, in lower case.
func (in *instance) allows(host string) bool {
	return (in.any || in.exact[host] || slices.ContainsFunc(in.suffixes, func(s string) bool { return strings.HasSuffix(host, s) })) && isName(host)
}

const challengePath = "/.well-known/acme-challenge/"

// challengeKey is under what a challenge's answer is kept. Its end keeps tokens apart from
// all other keys.
func challengeKey(token string) string { return token + "#http-01" }

func (in *instance) accountKey() string {
	return "kong_acme:account:" + in.directory + ":" + base64.StdEncoding.EncodeToString([]byte(in.email))
}

func backoffKey(host string) string { return "kong_acme:fail_backoff:" + host }
func lockKey(host string) string    { return "kong_acme:update_lock:" + host }

// Rewrite implements gateway.Rewriter: it answers challenges, whether or not there is a
// route for them.
func (in *instance) Rewrite(x *gateway.Exchange) {
	token, is := strings.CutPrefix(x.Request.Path, challengePath)
	if !is || token == "" || x.Conn.TLS != nil || !in.allows(strings.ToLower(x.Request.Host)) {
		return
	}
	plain := gateway.Field{Name: "Content-Type", Value: "text/plain; charset=utf-8"}
	switch answer, ok, err := in.storage.get(x.Context(), challengeKey(token)); {
	case err != nil:
		in.env.Log.Error("a challenge cannot be looked up", "err", err)
		x.Fail(500, "An unexpected error occurred")
	case ok:
		x.Respond(200, []byte(answer), plain)
	default:
		x.Respond(404, []byte("Not found\n"), plain)
	}
}

// AsksCertificate implements gateway.HandshakeAsker, by which it learns of handshakes: a
// server name without a certificate gets an order. It never asks for the client's.
func (in *instance) AsksCertificate(name string) bool {
	if name == "" || !in.allows(name) || in.hasOwn(name) || !in.claim(name) {
		return false
	}
	go func() {
		defer in.release(name)
		in.try(name, func() bool { return !in.hasOwn(name) })
	}()
	return false
}

// try obtains a certificate in the background, where it is still wanted when it is this
// node's turn.
func (in *instance) try(host string, wanted func() bool) {
	ctx, cancel := context.WithTimeout(in.ctx, orderTimeout)
	defer cancel()
	err := in.update(ctx, host, wanted)
	_, waits := errors.AsType[errWaits](err)
	switch {
	case err == nil, waits, errors.Is(err, errUnderWay): // nothing new
	case in.ctx.Err() == nil:
		in.env.Log.Error("a certificate cannot be obtained", "host", host, "err", err)
	}
}

// hasOwn reports whether a name has a certificate besides that for all names.
func (in *instance) hasOwn(name string) bool {
	has := func(sni string) bool { _, ok := in.env.Directory.ByUnique("snis", "name", sni); return ok }
	first, last := strings.IndexByte(name, '.'), strings.LastIndexByte(name, '.')
	return has(name) || first >= 0 && (has("*"+name[first:]) || has(name[:last+1]+"*"))
}

// claim begins an order for a domain; false where it has one, where there are too many,
// or where the instance is closed.
func (in *instance) claim(host string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || in.busy[host] || len(in.busy) >= maxOrders {
		return false
	}
	in.busy[host] = true
	in.work.Add(1)
	return true
}

func (in *instance) release(host string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.busy, host)
	in.work.Done()
}

// errWaits is that a domain whose order has failed is not tried again yet.
type errWaits struct {
	host    string
	seconds int64
}

func (e errWaits) Error() string {
	return fmt.Sprintf("please try again in %d seconds for host %s because of previous failure; "+
		"this is configurable with config.fail_backoff_minutes", e.seconds, e.host)
}

// update obtains a certificate for a domain that was claimed, and stores it, unless it is
// not wanted any more when no other node has an order for it.
func (in *instance) update(ctx context.Context, host string, wanted func() bool) error {
	until, waits, err := in.storage.get(ctx, backoffKey(host))
	if err != nil {
		return err
	}
	if waits {
		at, _ := strconv.ParseInt(until, 10, 64)
		return errWaits{host, max(0, at-in.env.Clock.Now().Unix())}
	}
	first, err := in.storage.add(ctx, lockKey(host), "1", lockLife)
	if err != nil {
		return err
	}
	if !first {
		return errUnderWay
	}
	if wanted() {
		if err = in.obtain(ctx, host); err == nil {
			in.env.Log.Info("a certificate was obtained", "host", host)
		}
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if err != nil && in.ctx.Err() == nil && in.backoff > 0 {
		until := in.env.Clock.Now().Add(in.backoff).Unix()
		if err := in.storage.set(after, backoffKey(host), strconv.FormatInt(until, 10), in.backoff); err != nil {
			in.env.Log.Warn("a backoff cannot be kept", "host", host, "err", err)
		}
	}
	if err := in.storage.remove(after, lockKey(host)); err != nil {
		in.env.Log.Warn("a lock cannot be removed", "host", host, "err", err)
	}
	return err
}

func (in *instance) keepRenewing() {
	t := time.NewTicker(renewEvery)
	defer t.Stop()
	for {
		select {
		case <-in.ctx.Done():
			return
		case <-t.C:
		case <-in.wake:
		}
		in.renew()
	}
}

// renew obtains new certificates for those that end soon, one after the other.
func (in *instance) renew() {
	due := map[string]*x509.Certificate{}
	for host, leaf := range in.managed() {
		if in.allows(host) && !leaf.NotAfter.Add(-in.threshold).After(in.env.Clock.Now()) {
			due[host] = leaf
		}
	}
	for host, old := range due {
		if in.claim(host) {
			in.try(host, func() bool { return in.current(host, old) })
			in.release(host)
		}
	}
}

// current reports whether a certificate is still the one of a domain: another node may have
// renewed it.
func (in *instance) current(host string, old *x509.Certificate) bool {
	sni, _ := in.env.Directory.ByUnique("snis", "name", host)
	leaves := in.env.Directory.Leaves(certificateOf(sni))
	return len(leaves) > 0 && leaves[0].Equal(old)
}

// managed walks the domains whose certificates are of this plugin.
func (in *instance) managed() iter.Seq2[string, *x509.Certificate] {
	return func(yield func(string, *x509.Certificate) bool) {
		for sni := range in.env.Directory.Each("snis") {
			if !isManaged(sni) {
				continue
			}
			leaves := in.env.Directory.Leaves(certificateOf(sni))
			if len(leaves) > 0 && !yield(fields.String(sni, "name"), leaves[0]) {
				return
			}
		}
	}
}

func isManaged(r schema.Record) bool { return slices.Contains(fields.Strings(r, "tags"), managed) }

func certificateOf(sni schema.Record) string {
	ref, _ := sni["certificate"].(schema.Record)
	return fields.String(ref, "id")
}
