package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/acme"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var errUnderWay = errors.New("an order for the host is under way")

// challengeLife is how long a challenge's answer is kept where nobody removes it.
const challengeLife = time.Hour

// obtain goes the way of an order, and stores the certificate.
func (in *instance) obtain(ctx context.Context, host string) error {
	account, err := in.accountSigner(ctx)
	if err != nil {
		return err
	}
	client := &acme.Client{Key: account, DirectoryURL: in.directory, HTTPClient: in.kind.client, UserAgent: "sluice"}
	// Kong accepts the terms of any authority but Let's Encrypt's without being told to.
	_, err = client.Register(ctx, &acme.Account{Contact: []string{"mailto:" + in.email}, ExternalAccountBinding: in.eab}, acme.AcceptTOS)
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return fmt.Errorf("the account: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(host))
	if err != nil {
		return fmt.Errorf("the order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := in.authorize(ctx, client, url); err != nil {
			return err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return fmt.Errorf("the order: %w", err)
	}
	key, err := in.newKey()
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{host}}, key)
	if err != nil {
		return err
	}
	chain, url, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	if in.chain != "" {
		chain = in.prefer(ctx, client, chain, url)
	}
	return in.store(ctx, host, chain, key)
}

// authorize proves that the domain of an authorization is this gateway's.
func (in *instance) authorize(ctx context.Context, client *acme.Client, url string) error {
	a, err := client.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("the authorization: %w", err)
	}
	if a.Status == acme.StatusValid {
		return nil
	}
	for _, c := range a.Challenges {
		if c.Type != "http-01" {
			continue
		}
		answer, err := client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return err
		}
		if err := in.storage.set(ctx, challengeKey(c.Token), answer, challengeLife); err != nil {
			return err
		}
		defer func() {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
			defer cancel()
			if err := in.storage.remove(after, challengeKey(c.Token)); err != nil {
				in.env.Log.Warn("a challenge cannot be removed", "err", err)
			}
		}()
		if _, err := client.Accept(ctx, c); err != nil {
			return fmt.Errorf("the challenge: %w", err)
		}
		if _, err := client.WaitAuthorization(ctx, a.URI); err != nil {
			return fmt.Errorf("the authorization: %w", err)
		}
		return nil
	}
	return errors.New("the authority offers no http-01 challenge")
}

// prefer returns the chain that ends in the preferred issuer, chain itself where none does.
func (in *instance) prefer(ctx context.Context, client *acme.Client, chain [][]byte, url string) [][]byte {
	if in.preferred(chain) {
		return chain
	}
	others, err := client.ListCertAlternates(ctx, url)
	if err != nil {
		in.env.Log.Warn("other chains cannot be listed", "err", err)
	}
	for _, other := range others {
		if c, err := client.FetchCert(ctx, other, true); err == nil && in.preferred(c) {
			return c
		}
	}
	in.env.Log.Warn("the authority has no chain of the preferred issuer", "preferred_chain", in.chain)
	return chain
}

func (in *instance) preferred(chain [][]byte) bool {
	last, err := x509.ParseCertificate(chain[len(chain)-1])
	return err == nil && last.Issuer.CommonName == in.chain
}

func (in *instance) newKey() (crypto.Signer, error) {
	if in.ecc {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, in.bits)
}

// store makes a certificate the one of its domain. One of this plugin's is replaced in
// place; another's stays, without the name.
func (in *instance) store(ctx context.Context, host string, chain [][]byte, key crypto.Signer) error {
	var cert strings.Builder
	for _, der := range chain {
		cert.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	pair := schema.Record{"cert": cert.String(), "key": private}
	sni, there := in.env.Directory.ByUnique("snis", "name", host)
	if there {
		id := certificateOf(sni)
		old, _ := in.env.Directory.ByID("certificates", id)
		if isManaged(sni) && isManaged(old) {
			_, err = in.env.Records.Update(ctx, "certificates", id, pair)
			return err
		}
	}
	pair["tags"] = []any{managed}
	made, err := in.env.Records.Create(ctx, "certificates", pair)
	if err != nil {
		return err
	}
	of := schema.Record{"certificate": schema.Record{"id": made["id"]}, "tags": []any{managed}}
	if there {
		_, err = in.env.Records.Update(ctx, "snis", fields.String(sni, "id"), of)
	} else {
		of["name"] = host
		_, err = in.env.Records.Create(ctx, "snis", of)
	}
	if err != nil {
		_, undone := in.env.Records.Delete(ctx, "certificates", fields.String(made, "id"))
		return errors.Join(err, undone)
	}
	return nil
}

func encodeKey(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// accountSigner returns the account's key: the configured one, or that of the storage,
// where one is made when there is none.
func (in *instance) accountSigner(ctx context.Context) (crypto.Signer, error) {
	if in.account != nil {
		return in.configuredSigner()
	}
	text, ok, err := in.storage.get(ctx, in.accountKey())
	if err != nil {
		return nil, err
	}
	if !ok {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, err
		}
		added, err := in.storage.add(ctx, in.accountKey(), text, 0)
		if err != nil {
			return nil, err
		}
		if !added { // another order was quicker
			if text, _, err = in.storage.get(ctx, in.accountKey()); err != nil {
				return nil, err
			}
		}
	}
	return parseKey(text)
}

// configuredSigner finds the key of account_key among the keys entities.
func (in *instance) configuredSigner() (crypto.Signer, error) {
	kid, name := fields.String(in.account, "key_id"), fields.String(in.account, "key_set")
	by := schema.Record{"kid": kid}
	if name != "" {
		set, ok := in.env.Directory.ByUnique("key_sets", "name", name)
		if !ok {
			return nil, fmt.Errorf("account_key: there is no key set %q", name)
		}
		by["set"] = schema.Record{"id": set["id"]}
	}
	r, ok := in.env.Directory.ByTogether("keys", by)
	if !ok {
		return nil, fmt.Errorf("account_key: there is no key %q", kid)
	}
	text := fields.String(r, "jwk")
	if of, ok := r["pem"].(schema.Record); ok {
		text = fields.String(of, "private_key")
	}
	if strings.HasPrefix(text, "{vault://") {
		var err error
		if text, err = in.env.Directory.Secret(text); err != nil {
			return nil, fmt.Errorf("account_key: %w", err)
		}
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("account_key: %w", err)
	}
	return key, nil
}

var errKey = errors.New("not a private key of RSA or ECDSA")

// parseKey reads a private key in PEM or as a JSON Web Key. Its errors hold nothing of it.
func parseKey(text string) (crypto.Signer, error) {
	var jwk jose.JSONWebKey
	key, err := gateway.ParsePrivateKey(text)
	if err != nil {
		if jwk.UnmarshalJSON([]byte(text)) != nil {
			return nil, errKey
		}
		key = jwk.Key
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	}
	return nil, errKey
}
