package kms

import "sluice.dev/sluice/internal/base/fault"

// Reasons of this service.
var (
	NoKey             = &fault.Reason{Kind: fault.NotFound, Name: "NoKey"}
	KeyDisabled       = &fault.Reason{Kind: fault.Conflict, Name: "KeyDisabled"}
	InvalidCiphertext = &fault.Reason{Kind: fault.Invalid, Name: "InvalidCiphertext"}
	IncorrectKey      = &fault.Reason{Kind: fault.Invalid, Name: "IncorrectKey"}
	InvalidArgument   = &fault.Reason{Kind: fault.Invalid, Name: "InvalidArgument"}
	InvalidAlias      = &fault.Reason{Kind: fault.Invalid, Name: "InvalidAlias"}
	AliasExists       = &fault.Reason{Kind: fault.Exists, Name: "AliasExists"}
	ManagedKey        = &fault.Reason{Kind: fault.Unsupported, Name: "ManagedKey"}
)
