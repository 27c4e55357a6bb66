package awswire

import (
	"context"
	"net/http"
	"strings"
)

type urlKey struct{}

// ResourceURL returns the URL of the resource that the call in ctx names, without its query, as the client
// addressed it: http://localhost:4566/bucket/key. It is empty outside of an operation.
func ResourceURL(ctx context.Context) string {
	u, _ := ctx.Value(urlKey{}).(string)
	return u
}

func (c *call) url() string {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host + c.r.URL.EscapedPath()
}

// Escape percent-encodes all but the unreserved characters of RFC 3986 and the slash, as S3's listings do
// with encoding-type=url.
func Escape(s string) string { return uriEscape(s, true) }

// inviteEmpty sends the 100 Continue that net/http leaves out where the body is empty. The AWS CLI and boto3
// send Expect: 100-continue with an empty file too, and take the next status line on the connection for the
// missing one.
func inviteEmpty(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 && r.ProtoAtLeast(1, 1) && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
}
