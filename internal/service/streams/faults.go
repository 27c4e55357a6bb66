package streams

import "sluice.dev/sluice/internal/base/fault"

// Reasons of this service.
var (
	NoStream        = &fault.Reason{Kind: fault.NotFound, Name: "NoStream"}
	NoShard         = &fault.Reason{Kind: fault.NotFound, Name: "NoShard"}
	StreamExists    = &fault.Reason{Kind: fault.Exists, Name: "StreamExists"}
	InvalidArgument = &fault.Reason{Kind: fault.Invalid, Name: "InvalidArgument"}
	ExpiredPosition = &fault.Reason{Kind: fault.Invalid, Name: "ExpiredPosition"}
	LimitExceeded   = &fault.Reason{Kind: fault.Exhausted, Name: "LimitExceeded"}
)
