package iam

import (
	"context"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
)

// Authorize decides whether the caller in ctx may do action to resource. attrs are the
// condition keys the service knows of this request, beside those known of the caller.
// Root may do all in its account; a user what its inline policies allow and none denies.
func (s *Service) Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error {
	caller.Record(ctx, action)
	who, ok := caller.From(ctx)
	if !ok {
		return AccessDenied.New("Access Denied")
	}
	if err := s.fresh(); err != nil {
		return err
	}
	if who.Root {
		return nil
	}
	snap := s.deps.Store.Snapshot()
	if u, ok := s.records.users.Get(snap, lower(who.UserName)); !ok || u.ID != who.UserID {
		return AccessDenied.New("User: %s no longer exists", who.ARN) // one made anew under its name is another
	}
	request := access{action: string(action), resource: resource.String(), who: who, caller: caller.RequestOf(ctx), attrs: attrs}
	allowed := false
	for _, p := range s.records.policies.Find(snap, "user", lower(who.UserName)) {
		compiled, err := p.policy()
		if err != nil {
			return err // stored by a newer program: nothing may be concluded from it
		}
		switch compiled.decide(request) {
		case denies:
			return AccessDenied.New("User: %s is not authorized to perform: %s on resource: %s with an explicit deny in an identity-based policy", who.ARN, action, resource)
		case allows:
			allowed = true
		}
	}
	if !allowed {
		return AccessDenied.New("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", who.ARN, action, resource, action)
	}
	return nil
}
