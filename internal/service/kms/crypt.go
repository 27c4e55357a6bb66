package kms

import (
	"context"
	"crypto/rand"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
)

// MaxPlaintext is the most Encrypt takes, in bytes (KMS API reference, Encrypt).
const MaxPlaintext = 4096

// usable finds a key the caller may use for action and that is enabled.
func (s *Service) usable(ctx context.Context, ref string, action name.Action) (string, *keyDoc, error) {
	id, d, err := s.authorized(ctx, s.deps.Store.Snapshot(), ref, action)
	if err != nil {
		return "", nil, err
	}
	return id, d, s.enabled(id, d)
}

func (s *Service) enabled(id string, d *keyDoc) error {
	if !d.Enabled {
		return KeyDisabled.New("%s is disabled.", s.arn(d.Region, id))
	}
	return nil
}

// Encrypt seals at most MaxPlaintext bytes under a key.
func (s *Service) Encrypt(ctx context.Context, ref string, plain []byte, context map[string]string) (blob []byte, key name.ARN, err error) {
	id, d, err := s.usable(ctx, ref, "kms:Encrypt")
	if err != nil {
		return nil, name.ARN{}, err
	}
	if len(plain) == 0 || len(plain) > MaxPlaintext {
		return nil, name.ARN{}, InvalidArgument.Field("Plaintext", "the plaintext is 1 to %d bytes, not %d", MaxPlaintext, len(plain))
	}
	blob, err = s.keyring.seal(id, d, plain, canonical(context))
	return blob, s.arn(d.Region, id), err
}

// Decrypt opens a ciphertext. If ref is given, it must name the key that made it.
func (s *Service) Decrypt(ctx context.Context, blob []byte, ref string, context map[string]string) (plain []byte, key name.ARN, err error) {
	id, version, err := parseBlob(blob)
	if err != nil {
		// Who may decrypt nothing learns nothing of the format either.
		if denied := s.deps.Auth.Authorize(ctx, "kms:Decrypt", name.Any); denied != nil {
			return nil, name.ARN{}, denied
		}
		return nil, name.ARN{}, err
	}
	id, d, err := s.authorized(ctx, s.deps.Store.Snapshot(), id, "kms:Decrypt")
	if NoKey.Is(err) {
		return nil, name.ARN{}, InvalidCiphertext.New("the ciphertext was not made by a key of this account")
	}
	if err != nil {
		return nil, name.ARN{}, err
	}
	if ref != "" {
		named, _, err := s.resolve(ctx, s.deps.Store.Snapshot(), ref)
		if err != nil {
			return nil, name.ARN{}, err
		}
		if named != id {
			return nil, name.ARN{}, IncorrectKey.Field("KeyId", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	if err := s.enabled(id, d); err != nil {
		return nil, name.ARN{}, err
	}
	plain, err = s.keyring.open(id, d, version, blob, canonical(context))
	return plain, s.arn(d.Region, id), err
}

// GenerateDataKey makes n random bytes and their ciphertext. The second form of the API,
// without plaintext, is the same call under another action.
func (s *Service) GenerateDataKey(ctx context.Context, ref string, n int, context map[string]string, action name.Action) (plain, blob []byte, key name.ARN, err error) {
	id, d, err := s.usable(ctx, ref, action)
	if err != nil {
		return nil, nil, name.ARN{}, err
	}
	if n < 1 || n > 1024 {
		return nil, nil, name.ARN{}, InvalidArgument.Field("NumberOfBytes", "a data key is 1 to 1024 bytes, not %d", n)
	}
	plain = make([]byte, n)
	_, _ = rand.Read(plain) // never fails
	blob, err = s.keyring.seal(id, d, plain, canonical(context))
	return plain, blob, s.arn(d.Region, id), err
}

// NewDataKey makes a data key under the key ref of ctx's region as the caller in ctx; with an empty ref,
// under the platform key, which everybody may use through a service.
func (s *Service) NewDataKey(ctx context.Context, ref string, context []byte) (plain [32]byte, wrapped []byte, key name.ARN, err error) {
	var id string
	var d *keyDoc
	if ref == "" {
		id, d, err = s.platformKey()
	} else {
		id, d, err = s.usable(ctx, ref, "kms:GenerateDataKey")
	}
	if err != nil {
		return plain, nil, name.ARN{}, err
	}
	_, _ = rand.Read(plain[:]) // never fails
	wrapped, err = s.keyring.seal(id, d, plain[:], context)
	return plain, wrapped, s.arn(d.Region, id), err
}

// OpenDataKey unwraps a data key of NewDataKey as the caller in ctx. It asks for the key's
// state and the caller's right each time, which costs a microsecond.
func (s *Service) OpenDataKey(ctx context.Context, wrapped, context []byte) (plain [32]byte, err error) {
	id, version, err := parseBlob(wrapped)
	if err != nil {
		return plain, err
	}
	d, ok := s.records.keys.Get(s.deps.Store.Snapshot(), id)
	if !ok {
		return plain, NoKey.New("the key %s that sealed this no longer exists", id)
	}
	if !d.Managed {
		// The key may be of another region than the request: conditions on the region are about the key's.
		if err := s.deps.Auth.Authorize(caller.WithRegion(ctx, d.Region), "kms:Decrypt", s.arn(d.Region, id)); err != nil {
			return plain, err
		}
	}
	if err := s.enabled(id, d); err != nil {
		return plain, err
	}
	b, err := s.keyring.open(id, d, version, wrapped, context)
	if err != nil {
		return plain, err
	}
	if copy(plain[:], b) != len(plain) {
		return plain, InvalidCiphertext.New("the ciphertext is not a data key")
	}
	return plain, nil
}

func (s *Service) platformKey() (string, *keyDoc, error) {
	snap := s.deps.Store.Snapshot()
	alias, ok := s.records.aliases.Get(snap, aliasKey(platformRegion, platformAlias))
	if !ok {
		return "", nil, NoKey.New("the platform key does not exist")
	}
	d, _ := s.records.keys.Get(snap, alias.Key)
	return alias.Key, d, nil
}
