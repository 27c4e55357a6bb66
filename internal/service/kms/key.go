package kms

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Key describes a key.
type Key struct {
	ID          string
	ARN         name.ARN
	Account     string
	Description string
	Enabled     bool
	Managed     bool
	Created     time.Time
}

// platformAlias names the key that seals what no owner's key was chosen for.
const platformAlias = "alias/sluice/platform"

// platformRegion is where the platform's own key lives.
const platformRegion = "us-east-1"

func (s *Service) describe(id string, d *keyDoc) Key {
	return Key{ID: id, ARN: s.arn(d.Region, id), Account: s.cfg.Account, Description: d.Description,
		Enabled: d.Enabled, Managed: d.Managed, Created: d.Created}
}

func (s *Service) ensurePlatformKey(ctx context.Context) error {
	if s.records.aliases.Has(s.deps.Store.Snapshot(), aliasKey(platformRegion, platformAlias)) {
		return nil
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.records.aliases.Has(tx, aliasKey(platformRegion, platformAlias)) {
			return nil // another node was first
		}
		id, err := s.insert(tx, platformRegion, "Seals what no other key was chosen for", true)
		if err != nil {
			return err
		}
		return s.records.aliases.Insert(tx, aliasKey(platformRegion, platformAlias),
			&aliasDoc{Region: platformRegion, Name: platformAlias, Key: id, Created: s.deps.Clock.Now()})
	})
}

func (s *Service) insert(tx *store.Tx, region, description string, managed bool) (id string, err error) {
	id = uuid.NewString()
	now := s.deps.Clock.Now().UTC()
	return id, s.records.keys.Insert(tx, id, &keyDoc{
		Region: region, Description: description, Enabled: true, Managed: managed, Created: now,
		Versions: []sealedMaterial{{Sealed: s.keyring.newMaterial(id), Created: now}},
	})
}

// CreateKey makes a symmetric key in the caller's region.
func (s *Service) CreateKey(ctx context.Context, description string) (Key, error) {
	if err := s.deps.Auth.Authorize(ctx, "kms:CreateKey", name.Any); err != nil {
		return Key{}, err
	}
	var out Key
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		id, err := s.insert(tx, caller.Region(ctx), description, false)
		if err != nil {
			return err
		}
		d, _ := s.records.keys.Get(tx, id)
		out = s.describe(id, d)
		return nil
	})
	return out, err
}

// resolve finds a key of the caller's region by id, key ARN, alias name or alias ARN. A key of another region
// does not exist for the call, whatever form names it (KMS API reference, DescribeKey).
func (s *Service) resolve(ctx context.Context, r store.Reader, ref string) (string, *keyDoc, error) {
	region, id := caller.Region(ctx), ref
	if strings.HasPrefix(ref, "arn:") {
		a, err := name.ParseARN(ref)
		if err != nil || !a.Within("kms", region, s.cfg.Account) {
			return "", nil, NoKey.Field("KeyId", "Invalid arn %s", ref)
		}
		id = strings.TrimPrefix(a.Resource, "key/")
	}
	if strings.HasPrefix(id, "alias/") {
		alias, ok := s.records.aliases.Get(r, aliasKey(region, id))
		if !ok {
			return "", nil, NoKey.Field("KeyId", "Alias %s is not found.", s.aliasARN(region, id))
		}
		id = alias.Key
	}
	d, ok := s.records.keys.Get(r, id)
	if !ok || d.Region != region {
		return "", nil, NoKey.Field("KeyId", "Key '%s' does not exist", s.arn(region, id))
	}
	return id, d, nil
}

// authorized finds a key and asks whether the caller may do action to it. Who may not is
// told so, whether or not the key exists.
func (s *Service) authorized(ctx context.Context, r store.Reader, ref string, action name.Action) (string, *keyDoc, error) {
	id, d, err := s.resolve(ctx, r, ref)
	resource := s.arn(caller.Region(ctx), ref)
	if err == nil {
		resource = s.arn(d.Region, id)
	}
	if denied := s.deps.Auth.Authorize(ctx, action, resource); denied != nil {
		return "", nil, denied
	}
	return id, d, err
}

// DescribeKey returns a key by id, ARN or alias.
func (s *Service) DescribeKey(ctx context.Context, ref string) (Key, error) {
	id, d, err := s.authorized(ctx, s.deps.Store.Snapshot(), ref, "kms:DescribeKey")
	if err != nil {
		return Key{}, err
	}
	return s.describe(id, d), nil
}

// ListKeys returns at most limit keys of the caller's region behind the id after, and
// whether there are more.
func (s *Service) ListKeys(ctx context.Context, after string, limit int) (keys []Key, more bool, err error) {
	if err := s.deps.Auth.Authorize(ctx, "kms:ListKeys", name.Any); err != nil {
		return nil, false, err
	}
	for id, d := range s.records.keys.All(s.deps.Store.Snapshot(), after) {
		if d.Region != caller.Region(ctx) {
			continue
		}
		if len(keys) == limit {
			return keys, true, nil
		}
		keys = append(keys, s.describe(id, d))
	}
	return keys, false, nil
}

// EnableKey lets a key be used again.
func (s *Service) EnableKey(ctx context.Context, ref string) error {
	return s.setEnabled(ctx, ref, "kms:EnableKey", true)
}

// DisableKey locks a key, and with it all it sealed.
func (s *Service) DisableKey(ctx context.Context, ref string) error {
	return s.setEnabled(ctx, ref, "kms:DisableKey", false)
}

func (s *Service) setEnabled(ctx context.Context, ref string, action name.Action, enabled bool) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		id, d, err := s.authorized(ctx, tx, ref, action)
		if err != nil {
			return err
		}
		if d.Managed {
			return ManagedKey.New("Key %s is managed by the platform and cannot be changed", s.arn(d.Region, id))
		}
		changed := *d
		changed.Enabled = enabled
		return s.records.keys.Put(tx, id, &changed)
	})
}
