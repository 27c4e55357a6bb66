package iam

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// AccessKey describes an access key. Secret is set by CreateAccessKey only.
type AccessKey struct {
	ID      string
	User    string // empty for root
	Secret  string
	Active  bool
	Created time.Time
}

// LastUse is when and for what a key was last used.
type LastUse struct {
	Time    time.Time
	Service string
	Region  string
}

// owner names whose keys a call is about: the named user, or the caller itself.
func (s *Service) owner(ctx context.Context, r store.Reader, user string, action name.Action) (id, display string, err error) {
	if user == "" {
		who, ok := caller.From(ctx)
		if ok && who.Root {
			return "", "", s.Authorize(ctx, action, name.ARN{Service: "iam", Account: s.cfg.Account, Resource: "root"})
		}
		user = who.UserName
	}
	d, err := s.find(ctx, r, user, action)
	if err != nil {
		return "", "", err
	}
	return strings.ToLower(d.Name), d.Name, nil
}

// CreateAccessKey makes a key for the user, or for the caller if user is empty. This is
// the only time the secret is given out.
func (s *Service) CreateAccessKey(ctx context.Context, user string) (AccessKey, error) {
	var out AccessKey
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		owner, display, err := s.owner(ctx, tx, user, "iam:CreateAccessKey")
		if err != nil {
			return err
		}
		n := 0
		for range s.records.keys.Find(tx, "owner", owner) {
			n++
		}
		if n >= maxKeysPerUser {
			return LimitExceeded.New("Cannot exceed quota for AccessKeysPerUser: %d", maxKeysPerUser)
		}
		out = s.newKey(display)
		return s.insertKey(tx, owner, out)
	})
	return out, err
}

func (s *Service) newKey(user string) AccessKey {
	return AccessKey{ID: name.UniqueID("AKIA", 20), User: user, Secret: name.Secret(40), Active: true,
		Created: s.deps.Clock.Now().UTC().Truncate(time.Second)}
}

func (s *Service) insertKey(tx *store.Tx, owner string, k AccessKey) error {
	return s.records.keys.Insert(tx, k.ID, &keyDoc{User: owner, Secret: k.Secret, Active: k.Active, Created: k.Created})
}

// Bootstrap returns root's access key and makes it at the first start. It is for the
// program's start alone and asks no rights.
func (s *Service) Bootstrap(ctx context.Context) (AccessKey, error) {
	var out AccessKey
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		for id, k := range s.records.keys.Find(tx, "owner", "") {
			if k.Active {
				out = AccessKey{ID: id, Secret: k.Secret, Active: true, Created: k.Created}
				return nil
			}
		}
		out = s.newKey("")
		return s.insertKey(tx, "", out)
	})
	return out, err
}

// ListAccessKeys returns the keys of the user, or of the caller if user is empty.
func (s *Service) ListAccessKeys(ctx context.Context, user string) ([]AccessKey, error) {
	snap := s.deps.Store.Snapshot()
	owner, display, err := s.owner(ctx, snap, user, "iam:ListAccessKeys")
	if err != nil {
		return nil, err
	}
	var keys []AccessKey
	for id, k := range s.records.keys.Find(snap, "owner", owner) {
		keys = append(keys, AccessKey{ID: id, User: display, Active: k.Active, Created: k.Created})
	}
	return keys, nil
}

// SetAccessKeyActive lets a key sign, or not.
func (s *Service) SetAccessKeyActive(ctx context.Context, user, key string, active bool) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		k, err := s.ownedKey(ctx, tx, user, key, "iam:UpdateAccessKey")
		if err != nil {
			return err
		}
		changed := *k
		changed.Active = active
		return s.records.keys.Put(tx, key, &changed)
	})
}

// DeleteAccessKey removes a key.
func (s *Service) DeleteAccessKey(ctx context.Context, user, key string) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if _, err := s.ownedKey(ctx, tx, user, key, "iam:DeleteAccessKey"); err != nil {
			return err
		}
		_, err := s.records.keys.Delete(tx, key)
		return err
	})
}

func (s *Service) ownedKey(ctx context.Context, r store.Reader, user, key string, action name.Action) (*keyDoc, error) {
	owner, _, err := s.owner(ctx, r, user, action)
	if err != nil {
		return nil, err
	}
	k, ok := s.records.keys.Get(r, key)
	if !ok || k.User != owner {
		return nil, NoEntity.Field("AccessKeyId", "The Access Key with id %s cannot be found.", key)
	}
	return k, nil
}

// Credential returns the secret and the identity of an active access key, for the fronts
// that verify signatures and passwords.
func (s *Service) Credential(_ context.Context, key string) (secret string, id caller.Identity, err error) {
	if err := s.fresh(); err != nil {
		return "", caller.Identity{}, err
	}
	snap := s.deps.Store.Snapshot()
	k, ok := s.records.keys.Get(snap, key)
	if !ok || !k.Active {
		return "", caller.Identity{}, UnknownKey.New("The security token included in the request is invalid.")
	}
	if k.User == "" {
		return k.Secret, s.Root(key), nil
	}
	u, ok := s.records.users.Get(snap, k.User)
	if !ok {
		return "", caller.Identity{}, UnknownKey.New("The security token included in the request is invalid.")
	}
	return k.Secret, caller.Identity{Account: s.cfg.Account, ARN: s.userARN(u.Path, u.Name).String(),
		UserID: u.ID, UserName: u.Name, AccessKeyID: key}, nil
}

// Used notes that a key signed a request that was accepted.
func (s *Service) Used(key, service, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[key] = LastUse{Time: s.deps.Clock.Now().UTC().Truncate(time.Second), Service: service, Region: region}
}

func (s *Service) flushLastUse() error {
	s.mu.Lock()
	used := s.used
	s.used = map[string]LastUse{}
	s.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	b := s.deps.Index.NewBatch()
	for key, u := range used {
		raw, err := json.Marshal(u)
		if err != nil {
			b.Discard()
			return err
		}
		b.Set(lastUseKey(key), raw)
	}
	return b.CommitUnsynced() // a use of the last seconds may be forgotten by a crash
}

// AccessKeyLastUsed tells when a key was last used; ok is false if it never was.
func (s *Service) AccessKeyLastUsed(ctx context.Context, key string) (user string, use LastUse, ok bool, err error) {
	snap := s.deps.Store.Snapshot()
	k, known := s.records.keys.Get(snap, key)
	resource := s.userARN("/", "")
	if known {
		if u, ok := s.records.users.Get(snap, k.User); ok {
			user, resource = u.Name, s.userARN(u.Path, u.Name)
		}
	}
	if err := s.Authorize(ctx, "iam:GetAccessKeyLastUsed", resource); err != nil {
		return "", LastUse{}, false, err
	}
	if !known {
		return "", LastUse{}, false, NoEntity.Field("AccessKeyId", "The Access Key with id %s cannot be found.", key)
	}
	s.mu.Lock()
	use, ok = s.used[key]
	s.mu.Unlock()
	if ok {
		return user, use, true, nil
	}
	raw, ok, err := s.deps.Index.Get(lastUseKey(key))
	if err != nil || !ok {
		return user, LastUse{}, false, err
	}
	return user, use, true, json.Unmarshal(raw, &use)
}
