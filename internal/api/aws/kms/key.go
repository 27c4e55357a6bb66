package kms

import (
	"context"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/service/kms"
)

const symmetric = "SYMMETRIC_DEFAULT"

func metadata(k kms.Key) *KeyMetadata {
	state, manager := "Disabled", "CUSTOMER"
	if k.Enabled {
		state = "Enabled"
	}
	if k.Managed {
		manager = "AWS"
	}
	return &KeyMetadata{
		AWSAccountId: &k.Account, KeyId: &k.ID, Arn: new(k.ARN.String()), CreationDate: &k.Created, Enabled: &k.Enabled,
		Description: &k.Description, KeyUsage: new("ENCRYPT_DECRYPT"), KeyState: &state, Origin: new("AWS_KMS"), KeyManager: &manager,
		CustomerMasterKeySpec: new(symmetric), KeySpec: new(symmetric), EncryptionAlgorithms: []string{symmetric}, MultiRegion: new(false),
	}
}

func (f front) CreateKey(ctx context.Context, in *CreateKeyInput) (*CreateKeyOutput, error) {
	if err := awswire.Only(in, "Description", "KeyUsage", "KeySpec", "CustomerMasterKeySpec", "Origin", "MultiRegion"); err != nil {
		return nil, err
	}
	switch {
	case value(in.KeyUsage) != "" && *in.KeyUsage != "ENCRYPT_DECRYPT":
		return nil, awswire.Unserved.Field("KeyUsage", "keys for %s are not served yet", *in.KeyUsage)
	case value(in.KeySpec) != "" && *in.KeySpec != symmetric:
		return nil, awswire.Unserved.Field("KeySpec", "keys of the kind %s are not served yet", *in.KeySpec)
	case value(in.CustomerMasterKeySpec) != "" && *in.CustomerMasterKeySpec != symmetric:
		return nil, awswire.Unserved.Field("CustomerMasterKeySpec", "keys of the kind %s are not served yet", *in.CustomerMasterKeySpec)
	case value(in.Origin) != "" && *in.Origin != "AWS_KMS":
		return nil, awswire.Unserved.Field("Origin", "key material of the origin %s is not served yet", *in.Origin)
	case in.MultiRegion != nil && *in.MultiRegion:
		return nil, awswire.Unserved.Field("MultiRegion", "multi-Region keys are not served yet")
	}
	k, err := f.kms.CreateKey(ctx, value(in.Description))
	if err != nil {
		return nil, err
	}
	return &CreateKeyOutput{KeyMetadata: metadata(k)}, nil
}

func (f front) DescribeKey(ctx context.Context, in *DescribeKeyInput) (*DescribeKeyOutput, error) {
	k, err := f.kms.DescribeKey(ctx, *in.KeyId)
	if err != nil {
		return nil, err
	}
	return &DescribeKeyOutput{KeyMetadata: metadata(k)}, nil
}

func (f front) ListKeys(ctx context.Context, in *ListKeysInput) (*ListKeysOutput, error) {
	after, limit := "", 100
	if in.Marker != nil {
		if err := f.tokens.Open("kms keys", *in.Marker, &after); err != nil {
			return nil, err
		}
	}
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	keys, more, err := f.kms.ListKeys(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	out := &ListKeysOutput{Keys: []KeyListEntry{}, Truncated: &more}
	for _, k := range keys {
		out.Keys = append(out.Keys, KeyListEntry{KeyId: &k.ID, KeyArn: new(k.ARN.String())})
	}
	if more {
		token, err := f.tokens.Seal("kms keys", keys[len(keys)-1].ID)
		if err != nil {
			return nil, err
		}
		out.NextMarker = &token
	}
	return out, nil
}

func (f front) EnableKey(ctx context.Context, in *EnableKeyInput) (*EnableKeyOutput, error) {
	return &EnableKeyOutput{}, f.kms.EnableKey(ctx, *in.KeyId)
}

func (f front) DisableKey(ctx context.Context, in *DisableKeyInput) (*DisableKeyOutput, error) {
	return &DisableKeyOutput{}, f.kms.DisableKey(ctx, *in.KeyId)
}

func (f front) CreateAlias(ctx context.Context, in *CreateAliasInput) (*CreateAliasOutput, error) {
	return &CreateAliasOutput{}, f.kms.CreateAlias(ctx, *in.AliasName, *in.TargetKeyId)
}

func (f front) DeleteAlias(ctx context.Context, in *DeleteAliasInput) (*DeleteAliasOutput, error) {
	return &DeleteAliasOutput{}, f.kms.DeleteAlias(ctx, *in.AliasName)
}

func (f front) ListAliases(ctx context.Context, in *ListAliasesInput) (*ListAliasesOutput, error) {
	purpose := "kms aliases " + value(in.KeyId)
	after, limit := "", 50
	if in.Marker != nil {
		if err := f.tokens.Open(purpose, *in.Marker, &after); err != nil {
			return nil, err
		}
	}
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	aliases, more, err := f.kms.ListAliases(ctx, value(in.KeyId), after, limit)
	if err != nil {
		return nil, err
	}
	out := &ListAliasesOutput{Aliases: []AliasListEntry{}, Truncated: &more}
	for _, a := range aliases {
		out.Aliases = append(out.Aliases, AliasListEntry{AliasName: &a.Name, AliasArn: new(a.ARN.String()), TargetKeyId: &a.Key, CreationDate: &a.Created, LastUpdatedDate: &a.Created})
	}
	if more {
		token, err := f.tokens.Seal(purpose, aliases[len(aliases)-1].Name)
		if err != nil {
			return nil, err
		}
		out.NextMarker = &token
	}
	return out, nil
}
