package warehouse

import (
	"fmt"
	"runtime/debug"

	"sluice.dev/sluice/internal/base/fault"
)

// reason is a fault.Reason that can name a place in the statement.
type reason struct{ fault.Reason }

// The reasons of the warehouse. Their names are the condition names of PostgreSQL's
// error codes in CamelCase, where it has one, so that a front can map them one to one.
var (
	SyntaxError               = &reason{fault.Reason{Kind: fault.Invalid, Name: "SyntaxError"}}
	UndefinedTable            = &reason{fault.Reason{Kind: fault.NotFound, Name: "UndefinedTable"}}
	UndefinedColumn           = &reason{fault.Reason{Kind: fault.NotFound, Name: "UndefinedColumn"}}
	UndefinedFunction         = &reason{fault.Reason{Kind: fault.NotFound, Name: "UndefinedFunction"}}
	UndefinedObject           = &reason{fault.Reason{Kind: fault.NotFound, Name: "UndefinedObject"}}
	UndefinedDatabase         = &reason{fault.Reason{Kind: fault.NotFound, Name: "UndefinedDatabase"}}
	InvalidSchemaName         = &reason{fault.Reason{Kind: fault.NotFound, Name: "InvalidSchemaName"}}
	DuplicateTable            = &reason{fault.Reason{Kind: fault.Exists, Name: "DuplicateTable"}}
	DuplicateSchema           = &reason{fault.Reason{Kind: fault.Exists, Name: "DuplicateSchema"}}
	DuplicateDatabase         = &reason{fault.Reason{Kind: fault.Exists, Name: "DuplicateDatabase"}}
	DuplicateColumn           = &reason{fault.Reason{Kind: fault.Invalid, Name: "DuplicateColumn"}}
	DependentObjects          = &reason{fault.Reason{Kind: fault.Conflict, Name: "DependentObjects"}}
	WrongObjectType           = &reason{fault.Reason{Kind: fault.Invalid, Name: "WrongObjectType"}}
	DatatypeMismatch          = &reason{fault.Reason{Kind: fault.Invalid, Name: "DatatypeMismatch"}}
	InvalidTextRepresentation = &reason{fault.Reason{Kind: fault.Invalid, Name: "InvalidTextRepresentation"}}
	InvalidDatetime           = &reason{fault.Reason{Kind: fault.Invalid, Name: "InvalidDatetime"}}
	DatetimeFieldOverflow     = &reason{fault.Reason{Kind: fault.Invalid, Name: "DatetimeFieldOverflow"}}
	InvalidParameterValue     = &reason{fault.Reason{Kind: fault.Invalid, Name: "InvalidParameterValue"}}
	NumericOutOfRange         = &reason{fault.Reason{Kind: fault.Invalid, Name: "NumericOutOfRange"}}
	DivisionByZero            = &reason{fault.Reason{Kind: fault.Invalid, Name: "DivisionByZero"}}
	CardinalityViolation      = &reason{fault.Reason{Kind: fault.Invalid, Name: "CardinalityViolation"}}
	NotNullViolation          = &reason{fault.Reason{Kind: fault.Invalid, Name: "NotNullViolation"}}
	DataException             = &reason{fault.Reason{Kind: fault.Invalid, Name: "DataException"}}
	BadData                   = &reason{fault.Reason{Kind: fault.Corrupt, Name: "BadData"}}
	InsufficientPrivilege     = &reason{fault.Reason{Kind: fault.Denied, Name: "InsufficientPrivilege"}}
	FeatureNotSupported       = &reason{fault.Reason{Kind: fault.Unsupported, Name: "FeatureNotSupported"}}
	ActiveTransaction         = &reason{fault.Reason{Kind: fault.Conflict, Name: "ActiveTransaction"}}
	FailedTransaction         = &reason{fault.Reason{Kind: fault.Conflict, Name: "FailedTransaction"}}
	SerializationFailure      = &reason{fault.Reason{Kind: fault.Conflict, Name: "SerializationFailure"}}
	OutOfMemory               = &reason{fault.Reason{Kind: fault.Exhausted, Name: "OutOfMemory"}}
	ProgramLimitExceeded      = &reason{fault.Reason{Kind: fault.TooLarge, Name: "ProgramLimitExceeded"}}
	TooManyQueries            = &reason{fault.Reason{Kind: fault.Throttled, Name: "TooManyQueries"}}
	QueryCanceled             = &reason{fault.Reason{Kind: fault.Canceled, Name: "QueryCanceled"}}
	WorkerLost                = &reason{fault.Reason{Kind: fault.Unavailable, Name: "WorkerLost"}}
	ShuttingDown              = &reason{fault.Reason{Kind: fault.Unavailable, Name: "ShuttingDown"}}
	EngineError               = &reason{fault.Reason{Kind: fault.Internal, Name: "EngineError"}}
)

// Problem is a fault with what SQL clients expect beside the message.
type Problem struct {
	Fault    *fault.Error
	Position int // byte of the statement, from 1; 0 when unknown
	Detail   string
	Hint     string
}

// Error returns the message and the cause.
func (p *Problem) Error() string { return p.Fault.Error() }

// Unwrap returns the fault.
func (p *Problem) Unwrap() error { return p.Fault }

// Is reports whether err carries the reason.
func (r *reason) Is(err error) bool { return r.Reason.Is(err) }

// new returns a problem without a place.
func (r *reason) new(format string, args ...any) *Problem {
	return &Problem{Fault: r.Reason.New(format, args...)}
}

// at returns a problem at a byte of the statement, counted from 1.
func (r *reason) at(position int, format string, args ...any) *Problem {
	return &Problem{Fault: r.Reason.New(format, args...), Position: position}
}

// wrap returns a problem with a cause for the operator.
func (r *reason) wrap(err error, format string, args ...any) *Problem {
	return &Problem{Fault: r.Reason.Wrap(err, format, args...)}
}

// place adds the byte of the statement, counted from 1.
func (p *Problem) place(position int) *Problem {
	p.Position = position
	return p
}

// hint adds advice.
func (p *Problem) hint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// detail adds detail.
func (p *Problem) detail(format string, args ...any) *Problem {
	p.Detail = fmt.Sprintf(format, args...)
	return p
}

// recovered makes a panic an error. Every function that a front calls for a statement, and every
// goroutine that works for one, defers it: a fault in what reads a client's text or an object is
// the end of that statement and not that of the node.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = EngineError.wrap(fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "an internal error ended the statement; the node's log says which")
	}
}
