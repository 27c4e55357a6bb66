package kms

import (
	"context"
	"regexp"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Alias is a name for a key.
type Alias struct {
	Name    string // with its alias/ prefix
	ARN     name.ARN
	Key     string
	Created time.Time
}

var aliasForm = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`)

func checkAlias(alias string) error {
	if !aliasForm.MatchString(alias) {
		return InvalidAlias.Field("AliasName", "an alias is alias/ followed by letters, digits, /, _ or -, not %q", alias)
	}
	if strings.HasPrefix(alias, "alias/aws/") || strings.HasPrefix(alias, "alias/sluice/") {
		return InvalidAlias.Field("AliasName", "aliases under alias/aws/ and alias/sluice/ are the platform's own")
	}
	return nil
}

// CreateAlias names a key in its region.
func (s *Service) CreateAlias(ctx context.Context, alias, ref string) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	region := caller.Region(ctx)
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if err := s.deps.Auth.Authorize(ctx, "kms:CreateAlias", s.aliasARN(region, alias)); err != nil {
			return err
		}
		id, d, err := s.authorized(ctx, tx, ref, "kms:CreateAlias")
		if err != nil {
			return err
		}
		if d.Managed {
			return ManagedKey.New("Key %s is managed by the platform and cannot be changed", s.arn(d.Region, id))
		}
		if s.records.aliases.Has(tx, aliasKey(region, alias)) {
			return AliasExists.Field("AliasName", "An alias with the name %s already exists", s.aliasARN(region, alias))
		}
		return s.records.aliases.Insert(tx, aliasKey(region, alias),
			&aliasDoc{Region: region, Name: alias, Key: id, Created: s.deps.Clock.Now().UTC()})
	})
}

// DeleteAlias removes a name; the key stays.
func (s *Service) DeleteAlias(ctx context.Context, alias string) error {
	region := caller.Region(ctx)
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if err := s.deps.Auth.Authorize(ctx, "kms:DeleteAlias", s.aliasARN(region, alias)); err != nil {
			return err
		}
		if err := checkAlias(alias); err != nil {
			return err
		}
		deleted, err := s.records.aliases.Delete(tx, aliasKey(region, alias))
		if err == nil && !deleted {
			return NoKey.Field("AliasName", "Alias %s is not found.", s.aliasARN(region, alias))
		}
		return err
	})
}

// ListAliases returns at most limit aliases of the caller's region behind the name after,
// of one key if ref is given, and whether there are more.
func (s *Service) ListAliases(ctx context.Context, ref, after string, limit int) (aliases []Alias, more bool, err error) {
	if err := s.deps.Auth.Authorize(ctx, "kms:ListAliases", name.Any); err != nil {
		return nil, false, err
	}
	snap, of := s.deps.Store.Snapshot(), ""
	if ref != "" {
		if of, _, err = s.resolve(ctx, snap, ref); err != nil {
			return nil, false, err
		}
	}
	for _, a := range s.records.aliases.Prefix(snap, caller.Region(ctx)+"/") {
		if a.Name <= after || (of != "" && a.Key != of) {
			continue
		}
		if len(aliases) == limit {
			return aliases, true, nil
		}
		aliases = append(aliases, Alias{Name: a.Name, ARN: s.aliasARN(a.Region, a.Name), Key: a.Key, Created: a.Created})
	}
	return aliases, false, nil
}
