package kms

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"sync"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Config is what an operator may choose.
type Config struct {
	Account string   // twelve digits
	Root    [32]byte // the root key: seals key material
}

// Authorizer decides whether the caller in ctx may do action to resource.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// Deps are the parts the service needs.
type Deps struct {
	Store *store.Store
	Auth  Authorizer
	Clock clock.Clock
}

// Service is the key service.
type Service struct {
	cfg     Config
	deps    Deps
	records records
	keyring *ring
}

// New returns the service. It makes the platform key at the first start.
func New(ctx context.Context, c Config, d Deps) (*Service, error) {
	if !name.ValidAccount(c.Account) {
		return nil, errors.New("kms: the account is not twelve digits")
	}
	root, err := hkdf.Key(sha256.New, c.Root[:], nil, "sluice kms keyring", 32)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: c, deps: d, records: register(d.Store), keyring: &ring{root: aeadOf(root), opened: sync.Map{}}}
	return s, s.ensurePlatformKey(ctx)
}

func (s *Service) arn(region, id string) name.ARN {
	return name.ARN{Service: "kms", Region: region, Account: s.cfg.Account, Resource: "key/" + id}
}

func (s *Service) aliasARN(region, alias string) name.ARN {
	return name.ARN{Service: "kms", Region: region, Account: s.cfg.Account, Resource: alias}
}
