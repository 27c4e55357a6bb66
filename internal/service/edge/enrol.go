package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/store"
)

// Times of enrolment.
const (
	tokenLife       = time.Hour
	maxTokenLife    = 30 * 24 * time.Hour
	certificateLife = 90 * 24 * time.Hour
	maxTokens       = 10_000
)

// tokenDoc is a token, under the hash of its text.
type tokenDoc struct {
	Agent   string
	Class   string
	By      string
	Expires time.Time
	Used    bool
}

// Token lets one agent enrol, once.
type Token struct {
	Agent   string    `json:"agentId"`
	Class   string    `json:"agentClass"`
	Text    string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// NewToken makes a token for an agent of a class, whose id is made too unless it is given.
func (s *Service) NewToken(ctx context.Context, class, agent string, life time.Duration) (Token, error) {
	if err := s.may(ctx, Admin, class); err != nil {
		return Token{}, err
	}
	if err := checkName("agentClass", class); err != nil {
		return Token{}, err
	}
	if agent == "" {
		agent = uuid.NewString()
	}
	if err := checkName("agentId", agent); err != nil {
		return Token{}, err
	}
	if life == 0 {
		life = tokenLife
	}
	if life < time.Minute || life > maxTokenLife {
		return Token{}, Invalid.Field("expiresIn", "a token lives from a minute to 30 days")
	}
	if s.deps.Authority == nil {
		return Token{}, NotSupported.New("this platform issues no certificates to agents")
	}
	// Who may not manage an agent cannot take over its name.
	if a, ok, err := s.store.agents.Get(ctx, agent); err != nil {
		return Token{}, err
	} else if ok && a.Doc.Class != class {
		if err := s.may(ctx, Admin, a.Doc.Class); err != nil {
			return Token{}, err
		}
	}
	who, _ := caller.From(ctx)
	t := Token{Agent: agent, Class: class, Text: rand.Text()}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.store.tokens.Len(tx) >= maxTokens {
			return TooMany.New("there are %d tokens", maxTokens)
		}
		t.Expires = tx.Now().Add(life)
		return s.store.tokens.Put(tx, tokenKey(t.Text), &tokenDoc{Agent: agent, Class: class, By: who.ARN, Expires: t.Expires})
	})
	if err == nil {
		s.changed(ctx, class, agent, "token made", "a token lets the agent enrol until %s", t.Expires.UTC().Format(time.RFC3339))
	}
	return t, err
}

// tokenKey is what is kept of a token: who reads the store cannot enrol with it.
func tokenKey(text string) string {
	sum := sha256.Sum256([]byte("edge token " + text))
	return hex.EncodeToString(sum[:])
}

// Certificate is what an agent gets by enrolling.
type Certificate struct {
	Agent string `json:"agentId"`
	Class string `json:"agentClass"`
	Cert  string `json:"certificate"` // PEM
	CA    string `json:"ca"`          // PEM
}

// Enrol gives an agent a certificate for the key of its request, against a token, which is
// used up by it.
func (s *Service) Enrol(ctx context.Context, token string, csr []byte) (Certificate, error) {
	key, err := requestKey(csr)
	if err != nil {
		return Certificate{}, err
	}
	if s.deps.Authority == nil {
		return Certificate{}, NotSupported.New("this platform issues no certificates to agents")
	}
	var doc tokenDoc
	err = s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		t, ok := s.store.tokens.Get(tx, tokenKey(token))
		if !ok || t.Used || tx.Now().After(t.Expires) {
			return InvalidToken.New("the token is not valid, was used, or has expired: ask for another")
		}
		doc = *t
		used := doc
		used.Used = true
		return s.store.tokens.Put(tx, tokenKey(token), &used)
	})
	if err != nil {
		return Certificate{}, err
	}
	s.event(Event{Level: "INFO", Class: doc.Class, Agent: doc.Agent, User: doc.By, Type: "agent enrolled", Message: "the agent has a certificate, by a token of " + doc.By})
	return s.issue(key, doc.Agent, doc.Class)
}

// Renew gives an agent that shows its certificate a new one, for the key of its request.
func (s *Service) Renew(ctx context.Context, p Peer, csr []byte) (Certificate, error) {
	if p.Agent == "" || s.deps.Authority == nil {
		return Certificate{}, NoIdentity.New("a certificate is renewed by showing it")
	}
	key, err := requestKey(csr)
	if err != nil {
		return Certificate{}, err
	}
	row, ok, err := s.store.agents.Get(ctx, p.Agent)
	if err != nil {
		return Certificate{}, err
	}
	if !ok {
		return Certificate{}, NoSuchAgent.New("the agent was removed: enrol it anew")
	}
	return s.issue(key, p.Agent, row.Doc.Class)
}

func (s *Service) issue(key any, agent, class string) (Certificate, error) {
	cert, ca, err := s.deps.Authority.IssueAgent(key, agent, class, s.deps.Clock.Now().Add(certificateLife))
	return Certificate{Agent: agent, Class: class, Cert: string(cert), CA: string(ca)}, err
}

// requestKey is the key of a certificate signing request in PEM. What else it asks for is
// not given: the platform says who an agent is.
func requestKey(text []byte) (any, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(text) > 64<<10 {
		return nil, Invalid.Field("csr", "csr is no certificate signing request in PEM")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, Invalid.Field("csr", "csr is no valid certificate signing request")
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return k, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= 2048 && n <= 8192 {
			return k, nil
		}
	}
	return nil, Invalid.Field("csr", "the key is ECDSA, Ed25519, or RSA of 2,048 bits and more")
}
