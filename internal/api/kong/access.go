package kong

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
)

// ServiceName is the service that requests to the API are signed for, and whose actions
// policies name: AWS's API Gateway, which has a right for each method.
const ServiceName = "apigateway"

// Who a caller without an identity of the platform's is to the audit.
const (
	openCaller  = "anonymous"
	tokenCaller = "admin token"
	readCaller  = "read-only token"
)

// admit decides whether a request may come in, and returns it with its caller. The refusal
// has no status where it may.
func (a *api) admit(r *http.Request) (_ *http.Request, refusal answer) {
	if r.Method == http.MethodOptions {
		return r, answer{}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	as := func(id caller.Identity) *http.Request {
		ctx := caller.WithRequest(caller.With(r.Context(), id), caller.Request{ID: name.Hex(16), SourceIP: host})
		return r.WithContext(ctx)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") {
		token = r.Header.Get("Kong-Admin-Token")
	}
	switch {
	case token != "" && same(token, a.cfg.Token):
		return as(caller.Identity{UserName: tokenCaller, Root: true}), answer{}
	case token != "" && same(token, a.cfg.ReadToken):
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return as(caller.Identity{UserName: readCaller}), answer{}
		}
		return r, message(http.StatusForbidden, "this token may read, and nothing else")
	case token != "":
		return r, unauthorized("Unauthorized")
	case scheme != "" && a.deps.Identify != nil:
		id, err := a.deps.Identify(r)
		if err != nil {
			switch fault.KindOf(err) {
			case fault.TooLarge:
				return r, message(http.StatusRequestEntityTooLarge, fault.MessageOf(err))
			case fault.Unavailable:
				return r, message(http.StatusServiceUnavailable, fault.MessageOf(err))
			}
			return r, unauthorized(fault.MessageOf(err))
		}
		signed := as(id)
		if err := a.deps.Authorize(signed.Context(), name.Action(ServiceName+":"+r.Method), r.URL.Path); err != nil {
			return r, message(http.StatusForbidden, fault.MessageOf(err))
		}
		return signed, answer{}
	case a.cfg.Closed || a.cfg.Token != "" || a.cfg.ReadToken != "":
		return r, unauthorized("Unauthorized")
	}
	return as(caller.Identity{UserName: openCaller, Root: true}), answer{}
}

// same compares a token with the configured one, in a time that tells nothing of either.
func same(given, want string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return want != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func unauthorized(text string) answer {
	ans := message(http.StatusUnauthorized, text)
	ans.header = http.Header{"Www-Authenticate": {"Bearer"}}
	return ans
}

// audit serves /audit/objects: the changes that were made, the oldest first.
func (a *api) audit(r *request) answer {
	size, bad := r.pageSize()
	if bad.status != 0 {
		return bad
	}
	entries, next, err := a.deps.Audit(r.Context(), r.URL.Query().Get("offset"), size)
	if err != nil {
		return a.refused(r, err)
	}
	body := map[string]any{"data": entries, "next": nil}
	if next != "" {
		body["offset"], body["next"] = next, "/audit/objects?offset="+next+"&size="+strconv.Itoa(size)
	}
	return ok(body)
}
