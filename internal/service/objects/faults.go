package objects

import "sluice.dev/sluice/internal/base/fault"

// Reasons of this service.
var (
	NoBucket           = &fault.Reason{Kind: fault.NotFound, Name: "NoBucket"}
	NoObject           = &fault.Reason{Kind: fault.NotFound, Name: "NoObject"}
	NoVersion          = &fault.Reason{Kind: fault.NotFound, Name: "NoVersion"}
	NoUpload           = &fault.Reason{Kind: fault.NotFound, Name: "NoUpload"}
	BucketExists       = &fault.Reason{Kind: fault.Exists, Name: "BucketExists"}
	ObjectExists       = &fault.Reason{Kind: fault.Exists, Name: "ObjectExists"}
	BucketNotEmpty     = &fault.Reason{Kind: fault.Conflict, Name: "BucketNotEmpty"}
	InvalidBucketName  = &fault.Reason{Kind: fault.Invalid, Name: "InvalidBucketName"}
	InvalidArgument    = &fault.Reason{Kind: fault.Invalid, Name: "InvalidArgument"}
	KeyTooLong         = &fault.Reason{Kind: fault.Invalid, Name: "KeyTooLong"}
	MetadataTooLarge   = &fault.Reason{Kind: fault.Invalid, Name: "MetadataTooLarge"}
	TooLarge           = &fault.Reason{Kind: fault.TooLarge, Name: "EntityTooLarge"}
	TooSmall           = &fault.Reason{Kind: fault.Invalid, Name: "EntityTooSmall"}
	NoParts            = &fault.Reason{Kind: fault.Invalid, Name: "NoParts"}
	InvalidPart        = &fault.Reason{Kind: fault.Invalid, Name: "InvalidPart"}
	InvalidPartOrder   = &fault.Reason{Kind: fault.Invalid, Name: "InvalidPartOrder"}
	InvalidRange       = &fault.Reason{Kind: fault.Invalid, Name: "InvalidRange"}
	PreconditionFailed = &fault.Reason{Kind: fault.Conflict, Name: "PreconditionFailed"}
	BadDigest          = &fault.Reason{Kind: fault.Invalid, Name: "BadDigest"}
	CopyUnchanged      = &fault.Reason{Kind: fault.Invalid, Name: "CopyUnchanged"}
	InvalidLocation    = &fault.Reason{Kind: fault.Invalid, Name: "InvalidLocation"}
	OtherLocation      = &fault.Reason{Kind: fault.Invalid, Name: "OtherLocation"}
	Busy               = &fault.Reason{Kind: fault.Throttled, Name: "Busy"}
)
