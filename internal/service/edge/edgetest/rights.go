package edgetest

import (
	"context"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
)

// Rights is an authoriser that lets root do everything, and other users the one thing that
// they are called after: "ACTION RESOURCE".
type Rights struct{}

// Authorize returns an error of kind fault.Denied unless the caller may.
func (Rights) Authorize(ctx context.Context, action name.Action, resource name.ARN, _ ...name.Attr) error {
	who, _ := caller.From(ctx)
	if who.Root || who.UserName == string(action)+" "+resource.Resource {
		return nil
	}
	return (&fault.Reason{Kind: fault.Denied, Name: "AccessDenied"}).New("Access Denied")
}
