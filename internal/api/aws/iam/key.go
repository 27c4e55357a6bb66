package iam

import (
	"context"
)

func (f front) CreateAccessKey(ctx context.Context, in *CreateAccessKeyInput) (*CreateAccessKeyOutput, error) {
	k, err := f.iam.CreateAccessKey(ctx, value(in.UserName))
	if err != nil {
		return nil, err
	}
	return &CreateAccessKeyOutput{AccessKey: &AccessKey{UserName: &k.User, AccessKeyId: &k.ID, Status: status(k.Active),
		SecretAccessKey: &k.Secret, CreateDate: &k.Created}}, nil
}

func (f front) ListAccessKeys(ctx context.Context, in *ListAccessKeysInput) (*ListAccessKeysOutput, error) {
	keys, err := f.iam.ListAccessKeys(ctx, value(in.UserName))
	if err != nil {
		return nil, err
	}
	items, more, next, err := slice(f.tokens, "iam keys "+value(in.UserName), keys, in.Marker, in.MaxItems)
	out := &ListAccessKeysOutput{AccessKeyMetadata: []AccessKeyMetadata{}, IsTruncated: &more, Marker: next}
	for _, k := range items {
		out.AccessKeyMetadata = append(out.AccessKeyMetadata,
			AccessKeyMetadata{UserName: &k.User, AccessKeyId: &k.ID, Status: status(k.Active), CreateDate: &k.Created})
	}
	return out, err
}

func (f front) UpdateAccessKey(ctx context.Context, in *UpdateAccessKeyInput) (*UpdateAccessKeyOutput, error) {
	return &UpdateAccessKeyOutput{}, f.iam.SetAccessKeyActive(ctx, value(in.UserName), *in.AccessKeyId, *in.Status == "Active")
}

func (f front) DeleteAccessKey(ctx context.Context, in *DeleteAccessKeyInput) (*DeleteAccessKeyOutput, error) {
	return &DeleteAccessKeyOutput{}, f.iam.DeleteAccessKey(ctx, value(in.UserName), *in.AccessKeyId)
}

func (f front) GetAccessKeyLastUsed(ctx context.Context, in *GetAccessKeyLastUsedInput) (*GetAccessKeyLastUsedOutput, error) {
	user, use, ok, err := f.iam.AccessKeyLastUsed(ctx, *in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	last := &AccessKeyLastUsed{ServiceName: new("N/A"), Region: new("N/A")}
	if ok {
		last = &AccessKeyLastUsed{LastUsedDate: &use.Time, ServiceName: &use.Service, Region: &use.Region}
	}
	return &GetAccessKeyLastUsedOutput{UserName: &user, AccessKeyLastUsed: last}, nil
}
