package sts

import (
	"context"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
)

type front struct{}

var _ Operations = front{}

// New returns the API.
func New() awswire.Service {
	svc := Service(front{})
	svc.Resources = map[string][]name.Action{
		"GetCallerIdentity": {}, // no permission is needed, and none can be taken (STS API reference)
	}
	return svc
}

func (front) GetCallerIdentity(ctx context.Context, _ *GetCallerIdentityInput) (*GetCallerIdentityOutput, error) {
	who, _ := caller.From(ctx)
	return &GetCallerIdentityOutput{UserId: &who.UserID, Account: &who.Account, Arn: &who.ARN}, nil
}
