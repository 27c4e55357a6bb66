package iam

import (
	"context"
	"strings"

	"sluice.dev/sluice/internal/base/store"
)

// PutUserPolicy gives a user an inline policy, or replaces it.
func (s *Service) PutUserPolicy(ctx context.Context, user, policyName, document string) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := s.find(ctx, tx, user, "iam:PutUserPolicy")
		if err != nil {
			return err
		}
		if !policyNameForm.MatchString(policyName) {
			return InvalidInput.Field("PolicyName", "The specified value for policyName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
		}
		if _, err := parsePolicy(document); err != nil {
			return err
		}
		id := strings.ToLower(d.Name)
		total := len(strings.Join(strings.Fields(document), ""))
		for _, p := range s.records.policies.Find(tx, "user", id) {
			if p.Name != policyName {
				total += len(strings.Join(strings.Fields(p.Document), ""))
			}
		}
		if total > maxInlinePolicies {
			return LimitExceeded.New("Maximum policy size of %d bytes exceeded for user %s", maxInlinePolicies, d.Name)
		}
		return s.records.policies.Put(tx, policyKey(id, policyName), &policyDoc{User: id, Name: policyName, Document: document})
	})
}

// UserPolicy returns the document of an inline policy as it was put.
func (s *Service) UserPolicy(ctx context.Context, user, policyName string) (userName, document string, err error) {
	snap := s.deps.Store.Snapshot()
	d, err := s.find(ctx, snap, user, "iam:GetUserPolicy")
	if err != nil {
		return "", "", err
	}
	p, ok := s.records.policies.Get(snap, policyKey(strings.ToLower(d.Name), policyName))
	if !ok {
		return "", "", noPolicy(policyName)
	}
	return d.Name, p.Document, nil
}

// UserPolicies lists the names of a user's inline policies.
func (s *Service) UserPolicies(ctx context.Context, user string) ([]string, error) {
	snap := s.deps.Store.Snapshot()
	d, err := s.find(ctx, snap, user, "iam:ListUserPolicies")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range s.records.policies.Find(snap, "user", strings.ToLower(d.Name)) {
		names = append(names, p.Name)
	}
	return names, nil
}

// DeleteUserPolicy takes an inline policy from a user.
func (s *Service) DeleteUserPolicy(ctx context.Context, user, policyName string) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := s.find(ctx, tx, user, "iam:DeleteUserPolicy")
		if err != nil {
			return err
		}
		deleted, err := s.records.policies.Delete(tx, policyKey(strings.ToLower(d.Name), policyName))
		if err == nil && !deleted {
			return noPolicy(policyName)
		}
		return err
	})
}

func noPolicy(policyName string) error {
	return NoEntity.Field("PolicyName", "The user policy with name %s cannot be found.", policyName)
}
