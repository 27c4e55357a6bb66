package iam

import (
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// userDoc is a user as stored, under the name in lower case, as names are unique without
// regard to case.
type userDoc struct {
	Name    string
	Path    string
	ID      string
	Created time.Time
}

// keyDoc is an access key as stored, under its id. User is the lower-case name, empty for root.
type keyDoc struct {
	User    string
	Secret  string
	Active  bool
	Created time.Time
}

// policyDoc is an inline policy as stored, under user and name.
type policyDoc struct {
	User     string
	Name     string
	Document string

	once     sync.Once // compiles at the first decision
	compiled policy
	err      error
}

func (p *policyDoc) policy() (policy, error) {
	p.once.Do(func() { p.compiled, p.err = parsePolicy(p.Document) })
	return p.compiled, p.err
}

type records struct {
	users    *store.Collection[userDoc]
	keys     *store.Collection[keyDoc]
	policies *store.Collection[policyDoc]
}

func register(s *store.Store) records {
	return records{
		users: store.Register[userDoc](s, "iam.users"),
		keys: store.Register(s, "iam.keys",
			store.Refers("user", "iam.users", func(k *keyDoc) []string { return some(k.User) }, store.Restrict),
			store.Index("owner", func(k *keyDoc) []string { return []string{k.User} })),
		policies: store.Register(s, "iam.policies",
			store.Refers("user", "iam.users", func(p *policyDoc) []string { return []string{p.User} }, store.Restrict)),
	}
}

func some(v string) []string {
	if v == "" {
		return nil
	}
	return []string{v}
}

func policyKey(user, policy string) string { return user + "/" + policy }

func lastUseKey(accessKey string) []byte { return []byte("iam/used/" + accessKey) }
