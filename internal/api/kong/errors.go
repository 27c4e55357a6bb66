package kong

import (
	"errors"
	"net/http"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/gateway"
)

// code is one of Kong's error codes.
type code struct {
	number int
	name   string
	status int
}

var codes = map[*fault.Reason]code{
	gateway.InvalidKey:         {1, "invalid primary key", http.StatusBadRequest},
	gateway.SchemaViolation:    {2, "schema violation", http.StatusBadRequest},
	gateway.UnknownReference:   {4, "foreign key violation", http.StatusBadRequest},
	gateway.StillReferenced:    {4, "foreign key violation", http.StatusBadRequest},
	gateway.NotUnique:          {5, "unique constraint violation", http.StatusConflict},
	gateway.InvalidOffset:      {7, "invalid offset", http.StatusBadRequest},
	gateway.InvalidOptions:     {11, "invalid options", http.StatusBadRequest},
	gateway.InvalidDeclaration: {14, "invalid declarative configuration", http.StatusBadRequest},
	gateway.UnresolvedName:     {13, "foreign keys unresolved", http.StatusBadRequest},
	gateway.ReferencedByOthers: {19, "referenced by others", http.StatusBadRequest},
}

// invalidSize is Kong's code for a page size; it has no Reason, since sizes are a matter
// of the front.
var invalidSize = code{9, "invalid size", http.StatusBadRequest}

// unsupported is Kong's code for what a node cannot do.
var unsupported = code{12, "operation unsupported", http.StatusMethodNotAllowed}

func (c code) answer(text string, fields any) answer {
	body := map[string]any{"code": c.number, "name": c.name, "message": text}
	switch {
	case c.number == 11:
		body["options"] = fields
	case fields != nil:
		body["fields"] = fields
	}
	return answer{status: c.status, body: body}
}

// refused turns an error of the gateway into Kong's answer.
func (a *api) refused(r *request, err error) answer {
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		if c, ok := codes[e.Reason()]; ok {
			return c.answer(e.Message, e.Fields)
		}
	}
	switch fault.KindOf(err) {
	case fault.NotFound:
		return message(http.StatusNotFound, "Not found")
	case fault.Invalid:
		body := map[string]any{"message": fault.MessageOf(err)}
		if f := fault.FieldOf(err); f != "" {
			body["fields"] = map[string]any{f: fault.MessageOf(err)}
		}
		return answer{status: http.StatusBadRequest, body: body}
	case fault.TooLarge:
		return message(http.StatusRequestEntityTooLarge, fault.MessageOf(err))
	case fault.Unavailable, fault.Throttled, fault.Exhausted:
		ans := message(http.StatusServiceUnavailable, fault.MessageOf(err))
		ans.header = http.Header{"Retry-After": {"1"}}
		return ans
	case fault.Canceled:
		return message(499, "the client went away")
	}
	a.deps.Log.Error("Admin API", "method", r.Method, "path", r.URL.Path, "err", err)
	return message(http.StatusInternalServerError, "An unexpected error occurred")
}
