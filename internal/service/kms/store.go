package kms

import (
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// keyDoc is a key as stored, under its id.
type keyDoc struct {
	Region      string
	Description string
	Enabled     bool
	Managed     bool // the platform's own: owners cannot disable it
	Created     time.Time
	Versions    []sealedMaterial // oldest first; the last one encrypts
}

// sealedMaterial is key material under the root key.
type sealedMaterial struct {
	Sealed  []byte
	Created time.Time
}

// aliasDoc is an alias as stored, under region and name.
type aliasDoc struct {
	Region  string
	Name    string // with its alias/ prefix
	Key     string
	Created time.Time
}

type records struct {
	keys    *store.Collection[keyDoc]
	aliases *store.Collection[aliasDoc]
}

func register(s *store.Store) records {
	return records{
		keys: store.Register[keyDoc](s, "kms.keys"),
		aliases: store.Register(s, "kms.aliases",
			store.Refers("key", "kms.keys", func(a *aliasDoc) []string { return []string{a.Key} }, store.Cascade)),
	}
}

func aliasKey(region, alias string) string { return region + "/" + alias }
