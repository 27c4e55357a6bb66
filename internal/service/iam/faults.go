package iam

import "sluice.dev/sluice/internal/base/fault"

// Reasons of this service.
var (
	AccessDenied    = &fault.Reason{Kind: fault.Denied, Name: "AccessDenied"}
	NoEntity        = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchEntity"}
	EntityExists    = &fault.Reason{Kind: fault.Exists, Name: "EntityAlreadyExists"}
	DeleteConflict  = &fault.Reason{Kind: fault.Conflict, Name: "DeleteConflict"}
	LimitExceeded   = &fault.Reason{Kind: fault.Exhausted, Name: "LimitExceeded"}
	MalformedPolicy = &fault.Reason{Kind: fault.Invalid, Name: "MalformedPolicyDocument"}
	InvalidInput    = &fault.Reason{Kind: fault.Invalid, Name: "InvalidInput"}
	UnknownKey      = &fault.Reason{Kind: fault.NotFound, Name: "UnknownAccessKey"}
	NotNow          = &fault.Reason{Kind: fault.Unavailable, Name: "IdentityUnavailable"}
)
