package awswire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
)

// Signatures checks the signatures of requests to APIs that are not AWS's, so that the same
// keys open them.
type Signatures struct{ v verifier }

// NewSignatures returns a verifier over the same access keys as the AWS front's.
func NewSignatures(c Credentials, now func() time.Time) *Signatures {
	return &Signatures{verifier{credentials: c, now: now}}
}

// Verify checks a request's Signature Version 4, for the scope of service, and returns who
// signed. It reads the body, of at most limit bytes, and puts it back. An error is of the
// kind Unauthenticated, TooLarge, or Unavailable, and says what is wrong with the request.
func (v *Signatures) Verify(r *http.Request, service string, limit int64) (caller.Identity, error) {
	id, err := v.verify(r, service, limit)
	if f := (*fail)(nil); errors.As(err, &f) {
		kind := fault.Unauthenticated
		if f.what == unavailable || f.what == broken {
			kind = fault.Unavailable
		}
		return id, (&fault.Reason{Kind: kind, Name: "InvalidSignature"}).New("%s", f.message)
	}
	return id, err
}

func (v *Signatures) verify(r *http.Request, service string, limit int64) (caller.Identity, error) {
	query, err := parseForm(r.URL.RawQuery)
	if err != nil {
		return caller.Identity{}, err
	}
	a, err := authorizationOf(r.Header, query)
	if err != nil {
		return caller.Identity{}, err
	}
	credential, err := v.v.admit(r.Context(), a, service, false)
	if err != nil {
		return caller.Identity{}, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return caller.Identity{}, bodyError(err, len(body))
	}
	if int64(len(body)) > limit {
		return caller.Identity{}, (&fault.Reason{Kind: fault.TooLarge, Name: "TooLarge"}).New("the request is larger than %d bytes", limit)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	_, err = v.v.prove(a, credential, &canonical{
		method: r.Method, path: r.URL.EscapedPath(), query: query, header: r.Header, host: r.Host,
		length: r.ContentLength, signed: a.signed, payload: hexHash(body),
	})
	return credential.Identity, err
}
