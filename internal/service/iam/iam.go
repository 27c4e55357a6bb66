package iam

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
)

// Limits, as the IAM user guide has them ("IAM and AWS STS quotas").
const (
	maxKeysPerUser     = 2
	maxInlinePolicies  = 2048 // characters of all inline policies of a user
	failClosedAfter    = 5 * time.Second
	lastUsedFlushEvery = 10 * time.Second
)

// Config is what an operator may choose.
type Config struct {
	Account string // twelve digits
}

// Deps are the parts the service needs.
type Deps struct {
	Store *store.Store
	Index *kv.DB // last use of keys
	Clock clock.Clock
	Log   *slog.Logger
}

// Service is the identity service.
type Service struct {
	cfg     Config
	deps    Deps
	records records

	mu   sync.Mutex
	used map[string]LastUse // not yet written
}

// New returns the service.
func New(c Config, d Deps) (*Service, error) {
	if !name.ValidAccount(c.Account) {
		return nil, errors.New("iam: the account is not twelve digits")
	}
	return &Service{cfg: c, deps: d, records: register(d.Store), used: map[string]LastUse{}}, nil
}

// Run writes down the last use of keys now and then until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(lastUsedFlushEvery)
	defer tick.Stop()
	retry := work.Retry{Log: s.deps.Log, What: "iam: writing the last use of keys", First: lastUsedFlushEvery, Last: lastUsedFlushEvery}
	for {
		select {
		case <-ctx.Done():
			return s.flushLastUse()
		case <-tick.C:
			if err := s.flushLastUse(); err != nil {
				retry.Failed(err)
			} else {
				retry.Worked()
			}
		}
	}
}

// Root is the identity of the account's root with the given access key.
func (s *Service) Root(accessKey string) caller.Identity {
	return caller.Identity{Account: s.cfg.Account, ARN: "arn:aws:iam::" + s.cfg.Account + ":root",
		UserID: s.cfg.Account, AccessKeyID: accessKey, Root: true}
}

func (s *Service) userARN(path, user string) name.ARN {
	return name.ARN{Service: "iam", Account: s.cfg.Account, Resource: "user" + path + user}
}

// fresh fails while the control store has been silent for too long to trust what is known.
func (s *Service) fresh() error {
	if s.deps.Store.Silence() > failClosedAfter {
		return NotNow.New("the control store cannot be reached, so nobody can be identified now")
	}
	return nil
}
