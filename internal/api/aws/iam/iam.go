package iam

import (
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/page"
	"sluice.dev/sluice/internal/service/iam"
)

type front struct {
	iam    *iam.Service
	tokens *page.Tokens
}

var _ Operations = front{}

// New returns the API over s.
func New(s *iam.Service, tokens *page.Tokens) awswire.Service {
	svc := Service(front{s, tokens})
	svc.Resources, svc.Codes = resources, codes
	return svc
}

var resources = map[string][]name.Action{
	"CreateAccessKey":      {"iam:CreateAccessKey"},
	"CreateUser":           {"iam:CreateUser"},
	"DeleteAccessKey":      {"iam:DeleteAccessKey"},
	"DeleteUser":           {"iam:DeleteUser"},
	"DeleteUserPolicy":     {"iam:DeleteUserPolicy"},
	"GetAccessKeyLastUsed": {"iam:GetAccessKeyLastUsed"},
	"GetUser":              {"iam:GetUser"},
	"GetUserPolicy":        {"iam:GetUserPolicy"},
	"ListAccessKeys":       {"iam:ListAccessKeys"},
	"ListUserPolicies":     {"iam:ListUserPolicies"},
	"ListUsers":            {"iam:ListUsers"},
	"PutUserPolicy":        {"iam:PutUserPolicy"},
	"UpdateAccessKey":      {"iam:UpdateAccessKey"},
}

var codes = map[*fault.Reason]awswire.Code{
	iam.NoEntity:        {Code: "NoSuchEntity", Status: 404},
	iam.EntityExists:    {Code: "EntityAlreadyExists", Status: 409},
	iam.DeleteConflict:  {Code: "DeleteConflict", Status: 409},
	iam.LimitExceeded:   {Code: "LimitExceeded", Status: 409},
	iam.MalformedPolicy: {Code: "MalformedPolicyDocument", Status: 400},
	iam.InvalidInput:    {Code: "ValidationError", Status: 400},
	page.BadToken:       {Code: "ValidationError", Status: 400},
}

// slice returns the items of a page, and the token of the next one. IAM's lists are short,
// so a page is cut from the whole by position.
func slice[T any](tokens *page.Tokens, purpose string, all []T, marker *string, limit *int64) (items []T, truncated bool, next *string, err error) {
	from, n := 0, 100
	if marker != nil {
		if err := tokens.Open(purpose, *marker, &from); err != nil {
			return nil, false, nil, err
		}
	}
	if limit != nil {
		n = int(*limit)
	}
	from = min(from, len(all))
	items = all[from:min(from+n, len(all))]
	if from+n >= len(all) {
		return items, false, nil, nil
	}
	token, err := tokens.Seal(purpose, from+n)
	return items, true, &token, err
}

func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func status(active bool) *string {
	if active {
		return new("Active")
	}
	return new("Inactive")
}
