package delivery

import "sluice.dev/sluice/internal/base/fault"

// Reasons of this service.
var (
	NoDelivery      = &fault.Reason{Kind: fault.NotFound, Name: "NoDelivery"}
	DeliveryExists  = &fault.Reason{Kind: fault.Exists, Name: "DeliveryExists"}
	InvalidArgument = &fault.Reason{Kind: fault.Invalid, Name: "InvalidArgument"}
	NotDirect       = &fault.Reason{Kind: fault.Invalid, Name: "NotDirect"}
	LimitExceeded   = &fault.Reason{Kind: fault.Exhausted, Name: "LimitExceeded"}
)
