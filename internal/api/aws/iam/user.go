package iam

import (
	"context"
	"net/url"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/iam"
)

func user(u iam.User) *User {
	return &User{Path: &u.Path, UserName: &u.Name, UserId: &u.ID, Arn: new(u.ARN.String()), CreateDate: &u.Created}
}

func (f front) CreateUser(ctx context.Context, in *CreateUserInput) (*CreateUserOutput, error) {
	if err := awswire.Only(in, "Path", "UserName"); err != nil {
		return nil, err
	}
	u, err := f.iam.CreateUser(ctx, *in.UserName, value(in.Path))
	if err != nil {
		return nil, err
	}
	return &CreateUserOutput{User: user(u)}, nil
}

// GetUser without a name describes the caller, which may be root.
func (f front) GetUser(ctx context.Context, in *GetUserInput) (*GetUserOutput, error) {
	name := value(in.UserName)
	if name == "" {
		who, _ := caller.From(ctx)
		if who.Root {
			arn, err := f.iam.DescribeRoot(ctx)
			if err != nil {
				return nil, err
			}
			return &GetUserOutput{User: &User{UserId: &who.UserID, Arn: new(arn.String())}}, nil
		}
		name = who.UserName
	}
	u, err := f.iam.GetUser(ctx, name)
	if err != nil {
		return nil, err
	}
	return &GetUserOutput{User: user(u)}, nil
}

func (f front) ListUsers(ctx context.Context, in *ListUsersInput) (*ListUsersOutput, error) {
	prefix, after, limit := "/", "", 100
	if in.PathPrefix != nil {
		prefix = *in.PathPrefix
	}
	if in.Marker != nil {
		if err := f.tokens.Open("iam users "+prefix, *in.Marker, &after); err != nil {
			return nil, err
		}
	}
	if in.MaxItems != nil {
		limit = int(*in.MaxItems)
	}
	users, more, err := f.iam.ListUsers(ctx, prefix, after, limit)
	if err != nil {
		return nil, err
	}
	out := &ListUsersOutput{Users: []User{}, IsTruncated: &more}
	for _, u := range users {
		out.Users = append(out.Users, *user(u))
	}
	if more {
		token, err := f.tokens.Seal("iam users "+prefix, users[len(users)-1].Name)
		if err != nil {
			return nil, err
		}
		out.Marker = &token
	}
	return out, nil
}

func (f front) DeleteUser(ctx context.Context, in *DeleteUserInput) (*DeleteUserOutput, error) {
	return &DeleteUserOutput{}, f.iam.DeleteUser(ctx, *in.UserName)
}

func (f front) PutUserPolicy(ctx context.Context, in *PutUserPolicyInput) (*PutUserPolicyOutput, error) {
	return &PutUserPolicyOutput{}, f.iam.PutUserPolicy(ctx, *in.UserName, *in.PolicyName, *in.PolicyDocument)
}

// GetUserPolicy returns the document URL-encoded, as the API does.
func (f front) GetUserPolicy(ctx context.Context, in *GetUserPolicyInput) (*GetUserPolicyOutput, error) {
	name, document, err := f.iam.UserPolicy(ctx, *in.UserName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &GetUserPolicyOutput{UserName: &name, PolicyName: in.PolicyName, PolicyDocument: new(url.PathEscape(document))}, nil
}

func (f front) ListUserPolicies(ctx context.Context, in *ListUserPoliciesInput) (*ListUserPoliciesOutput, error) {
	names, err := f.iam.UserPolicies(ctx, *in.UserName)
	if err != nil {
		return nil, err
	}
	items, more, next, err := slice(f.tokens, "iam policies "+*in.UserName, names, in.Marker, in.MaxItems)
	return &ListUserPoliciesOutput{PolicyNames: append([]string{}, items...), IsTruncated: &more, Marker: next}, err
}

func (f front) DeleteUserPolicy(ctx context.Context, in *DeleteUserPolicyInput) (*DeleteUserPolicyOutput, error) {
	return &DeleteUserPolicyOutput{}, f.iam.DeleteUserPolicy(ctx, *in.UserName, *in.PolicyName)
}
