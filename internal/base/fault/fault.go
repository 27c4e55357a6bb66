// Package fault is the platform's error vocabulary.
//
// A Kind says what class of thing went wrong; the list is closed, so that a front can
// map every error to its protocol's status with one switch. A Reason is named by the
// service that returns it (NoSuchBucket, KeyDisabled) and belongs to one Kind; a front
// maps the Reasons it knows to its protocol's own codes and falls back to the Kind.
// An Error is one occurrence: a Reason, a message fit for the person who sent the
// request, and optionally the field at fault and the cause. The cause is for operators:
// it is logged and never sent to a client.
//
// An error that carries no Reason is a defect of ours or of the machine; KindOf reports
// it as Internal and a front must not show its text.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind is the class of a fault.
type Kind uint8

// The closed list of kinds.
const (
	Internal        Kind = iota // a defect of ours, or an error nobody classified
	Invalid                     // the request itself is wrong; sending it again is pointless
	Unauthenticated             // the caller could not be identified
	Denied                      // the caller is known and may not do this
	NotFound                    // the thing named does not exist
	Exists                      // the thing to create exists already
	Conflict                    // the thing's state does not permit this now
	Exhausted                   // a limit or a quota is reached
	Throttled                   // too many requests; the same one may succeed later
	Unavailable                 // a part needed is not there now; retrying may help
	Unsupported                 // this operation is not served
	TooLarge                    // the request is larger than what is accepted
	Corrupt                     // stored data failed its checksum or authentication
	Canceled                    // the caller went away or the deadline passed
)

var kindNames = [...]string{
	"internal", "invalid", "unauthenticated", "denied", "not found", "exists", "conflict", "exhausted",
	"throttled", "unavailable", "unsupported", "too large", "corrupt", "canceled",
}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Reason is a named fault of one service. Declare Reasons as package variables in
// the service's faults.go; compare them by identity.
type Reason struct {
	Kind Kind
	Name string // CamelCase, unique within the service
}

// New returns an Error with a message for the caller.
func (r *Reason) New(format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// Field returns an Error that names the request field at fault.
func (r *Reason) Field(field, format string, args ...any) *Error {
	return &Error{Reason: r, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error whose cause is err. The message must stand without the cause.
func (r *Reason) Wrap(err error, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...), cause: err}
}

// Is reports whether err, or an error it wraps, has the Reason r.
func (r *Reason) Is(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == r
}

// Error is one occurrence of a Reason.
type Error struct {
	Reason  *Reason
	Field   string // the request field at fault; empty where none is
	Message string // for the caller
	cause   error  // for the operator
}

// Error returns the message and the cause, for logs. Fronts use Message.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the Reason err carries, or nil.
func ReasonOf(err error) *Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return nil
}

// KindOf classifies any error: by its Reason, as Canceled for a context error, else Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Canceled
	}
	return Internal
}

// MessageOf returns what a client may be told of err: the Error's message, or for an
// unclassified error the text "internal error".
func MessageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	if KindOf(err) == Canceled {
		return "the request was canceled"
	}
	return "internal error"
}

// FieldOf returns the request field err names, or "".
func FieldOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Field
	}
	return ""
}
