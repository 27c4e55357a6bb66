package kms

import (
	"context"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/kms"
)

func algorithm(a *string) error {
	if a != nil && *a != symmetric {
		return awswire.Unserved.Field("EncryptionAlgorithm", "%s is not served yet", *a)
	}
	return nil
}

func (f front) Encrypt(ctx context.Context, in *EncryptInput) (*EncryptOutput, error) {
	if err := awswire.Only(in, "KeyId", "Plaintext", "EncryptionContext", "EncryptionAlgorithm"); err != nil {
		return nil, err
	}
	if err := algorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	blob, key, err := f.kms.Encrypt(ctx, *in.KeyId, in.Plaintext, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &EncryptOutput{CiphertextBlob: blob, KeyId: new(key.String()), EncryptionAlgorithm: new(symmetric)}, nil
}

func (f front) Decrypt(ctx context.Context, in *DecryptInput) (*DecryptOutput, error) {
	if err := awswire.Only(in, "CiphertextBlob", "EncryptionContext", "KeyId", "EncryptionAlgorithm"); err != nil {
		return nil, err
	}
	if err := algorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	plain, key, err := f.kms.Decrypt(ctx, in.CiphertextBlob, value(in.KeyId), in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &DecryptOutput{Plaintext: plain, KeyId: new(key.String()), EncryptionAlgorithm: new(symmetric)}, nil
}

// length is how many bytes a data key has.
func length(spec *string, bytes *int64) (int, error) {
	switch {
	case (spec == nil) == (bytes == nil):
		return 0, kms.InvalidArgument.Field("KeySpec", "Please specify either number of bytes or key spec.")
	case bytes != nil:
		return int(*bytes), nil
	case *spec == "AES_128":
		return 16, nil
	default:
		return 32, nil
	}
}

func (f front) dataKey(ctx context.Context, key string, spec *string, bytes *int64, context map[string]string, action name.Action) (plain, blob []byte, arn *string, err error) {
	n, err := length(spec, bytes)
	if err != nil {
		return nil, nil, nil, err
	}
	plain, blob, id, err := f.kms.GenerateDataKey(ctx, key, n, context, action)
	return plain, blob, new(id.String()), err
}

func (f front) GenerateDataKey(ctx context.Context, in *GenerateDataKeyInput) (*GenerateDataKeyOutput, error) {
	if err := awswire.Only(in, "KeyId", "EncryptionContext", "NumberOfBytes", "KeySpec"); err != nil {
		return nil, err
	}
	plain, blob, arn, err := f.dataKey(ctx, *in.KeyId, in.KeySpec, in.NumberOfBytes, in.EncryptionContext, "kms:GenerateDataKey")
	if err != nil {
		return nil, err
	}
	return &GenerateDataKeyOutput{Plaintext: plain, CiphertextBlob: blob, KeyId: arn}, nil
}

func (f front) GenerateDataKeyWithoutPlaintext(ctx context.Context, in *GenerateDataKeyWithoutPlaintextInput) (*GenerateDataKeyWithoutPlaintextOutput, error) {
	if err := awswire.Only(in, "KeyId", "EncryptionContext", "NumberOfBytes", "KeySpec"); err != nil {
		return nil, err
	}
	_, blob, arn, err := f.dataKey(ctx, *in.KeyId, in.KeySpec, in.NumberOfBytes, in.EncryptionContext, "kms:GenerateDataKeyWithoutPlaintext")
	if err != nil {
		return nil, err
	}
	return &GenerateDataKeyWithoutPlaintextOutput{CiphertextBlob: blob, KeyId: arn}, nil
}
