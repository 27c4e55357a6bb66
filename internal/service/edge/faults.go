package edge

import "sluice.dev/sluice/internal/base/fault"

// Faults of the service.
var (
	Invalid          = &fault.Reason{Kind: fault.Invalid, Name: "InvalidRequest"}
	NoSuchAgent      = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchAgent"}
	NoSuchClass      = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchAgentClass"}
	NoSuchManifest   = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchManifest"}
	NoSuchFlow       = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchFlow"}
	NoSuchOrder      = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchOperation"}
	NoSuchResource   = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchResource"}
	ClassExists      = &fault.Reason{Kind: fault.Exists, Name: "AgentClassExists"}
	ResourceExists   = &fault.Reason{Kind: fault.Exists, Name: "ResourceExists"}
	ClassInUse       = &fault.Reason{Kind: fault.Conflict, Name: "AgentClassInUse"}
	ResourceInUse    = &fault.Reason{Kind: fault.Conflict, Name: "ResourceInUse"}
	RolloutUnderWay  = &fault.Reason{Kind: fault.Conflict, Name: "RolloutUnderWay"}
	RolloutEnded     = &fault.Reason{Kind: fault.Conflict, Name: "RolloutEnded"}
	NotSupported     = &fault.Reason{Kind: fault.Conflict, Name: "OperationNotSupported"}
	BundleComplete   = &fault.Reason{Kind: fault.Conflict, Name: "DebugBundleComplete"}
	TooLarge         = &fault.Reason{Kind: fault.TooLarge, Name: "TooLarge"}
	TooMany          = &fault.Reason{Kind: fault.Exhausted, Name: "TooMany"}
	WrongIdentity    = &fault.Reason{Kind: fault.Denied, Name: "WrongAgentIdentity"}
	NoIdentity       = &fault.Reason{Kind: fault.Unauthenticated, Name: "AgentNotAuthenticated"}
	InvalidFlow      = &fault.Reason{Kind: fault.Conflict, Name: "FlowNotValid"}
	InvalidToken     = &fault.Reason{Kind: fault.Unauthenticated, Name: "EnrolmentTokenNotValid"}
	RevisionConflict = &fault.Reason{Kind: fault.Conflict, Name: "RevisionConflict"}
)
