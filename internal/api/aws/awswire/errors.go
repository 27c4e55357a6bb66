package awswire

import (
	"errors"
	"fmt"
	"net/http"

	"sluice.dev/sluice/internal/base/fault"
)

// Error is an error as it goes over the wire. Client returns it; a front may
// return one for a fault that only the wire knows.
type Error struct {
	Code    string // the API's own: ResourceNotFoundException
	Message string
	Status  int    // of HTTP
	Field   string // the member at fault, where one is

	Elements [][2]string // further elements of S3's error document: name and text

	Query  string      // the code for query clients, where it differs
	Header http.Header // sent along, such as ETag with 304
	cause  error       // for the log
}

// Error returns code and message, and the cause for the log.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// fail is a failure on its way to the client; the protocol names it when it is answered.
type fail struct {
	what    failure
	field   string
	message string
	cause   error
}

func (f *fail) Error() string {
	if f.cause != nil {
		return f.message + ": " + f.cause.Error()
	}
	return f.message
}

func (f *fail) Unwrap() error { return f.cause }

func failf(what failure, format string, args ...any) *fail {
	return &fail{what: what, message: fmt.Sprintf(format, args...)}
}

// named returns what the failure is called in protocol p.
func (f *fail) named(p Protocol) *Error {
	row := failureCodes[f.what]
	w := row[p.family()]
	if w.code == "" {
		w = row[queryFamily]
	}
	return &Error{Code: w.code, Status: w.status, Message: f.message, Field: f.field, cause: f.cause}
}

// wireError turns any error of an operation into what the client is told.
func wireError(p Protocol, s *Service, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if f, ok := errors.AsType[*fail](err); ok {
		return f.named(p)
	}
	e := &Error{Message: fault.MessageOf(err), Field: fault.FieldOf(err), cause: err}
	code, ok := Code{}, false
	if r := fault.ReasonOf(err); r != nil && s != nil {
		code, ok = s.Codes[r]
	}
	if !ok {
		w := kindCodes[fault.KindOf(err)][p.family()]
		code = Code{Code: w.code, Status: w.status}
	}
	e.Code, e.Status, e.Query = code.Code, code.Status, code.Query
	if e.Status == 0 {
		e.Status = http.StatusBadRequest
	}
	if e.Status >= 500 && fault.KindOf(err) == fault.Internal {
		e.Message = "We encountered an internal error. Please try again."
	}
	return e
}
