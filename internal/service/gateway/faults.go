package gateway

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Reasons the service returns.
var (
	SchemaViolation    = &fault.Reason{Kind: fault.Invalid, Name: "SchemaViolation"}
	InvalidKey         = &fault.Reason{Kind: fault.Invalid, Name: "InvalidPrimaryKey"}
	UnknownReference   = &fault.Reason{Kind: fault.Invalid, Name: "ForeignKeyViolation"}
	StillReferenced    = &fault.Reason{Kind: fault.Invalid, Name: "StillReferenced"}
	ReferencedByOthers = &fault.Reason{Kind: fault.Invalid, Name: "ReferencedByOthers"}
	UnresolvedName     = &fault.Reason{Kind: fault.Invalid, Name: "ForeignKeysUnresolved"}
	NotUnique          = &fault.Reason{Kind: fault.Exists, Name: "UniqueConstraintViolation"}
	NoSuchEntity       = &fault.Reason{Kind: fault.NotFound, Name: "NotFound"}
	InvalidDeclaration = &fault.Reason{Kind: fault.Invalid, Name: "InvalidDeclarativeConfiguration"}
	InvalidOffset      = &fault.Reason{Kind: fault.Invalid, Name: "InvalidOffset"}
	InvalidOptions     = &fault.Reason{Kind: fault.Invalid, Name: "InvalidOptions"}
	InvalidReference   = &fault.Reason{Kind: fault.Invalid, Name: "InvalidReferenceDocument"}
)

// Error is a refused change, with what is wrong by field.
type Error struct {
	reason  *fault.Reason
	Message string
	Fields  map[string]any // by field name, in the shape of schema.Violations
	Misfits []Misfit       // of a declaration: the records at fault
}

// Reason returns one of the package's Reasons.
func (e *Error) Reason() *fault.Reason { return e.reason }

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap lets package fault classify the error.
func (e *Error) Unwrap() error { return e.reason.New("%s", e.Message) }

func violated(v schema.Violations) *Error {
	return &Error{reason: SchemaViolation, Message: v.String(), Fields: v}
}

func notFound() *Error { return &Error{reason: NoSuchEntity, Message: "Not found"} }

// lua prints a record the way Kong's messages show keys: {name="x",service={id="…"}}.
func lua(r map[string]any) string {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	slices.Sort(names)
	parts := make([]string, len(names))
	for i, n := range names {
		switch v := r[n].(type) {
		case nil:
			parts[i] = n + "=null"
		case string:
			parts[i] = n + `="` + v + `"`
		case map[string]any:
			parts[i] = n + "=" + lua(v)
		default:
			parts[i] = fmt.Sprintf("%s=%v", n, v)
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}
