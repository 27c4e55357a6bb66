package gateway

import (
	"strconv"
	"strings"
)

// Fail ends the exchange with an error of the gateway's own, in the form the client
// accepts: JSON unless it asks for HTML, XML, plain text or speaks gRPC. The body tells
// the request id. Header lines set before are kept.
func (x *Exchange) Fail(status int, message string, headers ...Field) {
	x.fail(status, message, "application/json", headers)
}

// FailPlain is Fail with plain text as the form where the client named none, as the
// errors are that arise outside of plugins: a broken request, an upstream out of reach.
func (x *Exchange) FailPlain(status int, message string, headers ...Field) {
	x.fail(status, message, "text/plain", headers)
}

func (x *Exchange) fail(status int, message, otherwise string, headers []Field) {
	if strings.HasPrefix(x.Request.Header.Get("Content-Type"), "application/grpc") {
		x.Respond(200, nil, Field{"Content-Type", "application/grpc"},
			Field{"grpc-status", strconv.Itoa(grpcStatus(status))}, Field{"grpc-message", message})
		return
	}
	kind := negotiate(x.Request.Header.Get("Accept"), otherwise)
	x.Respond(status, errorBody(kind, message, x.ID()), headers...)
	x.Response.Header.Set("Content-Type", kind+"; charset=utf-8")
}

// negotiate picks the form of an error body: the first of the client's types that there
// is a form for, by weight.
func negotiate(accept, otherwise string) string {
	best, bestQ := otherwise, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, _ := strings.Cut(part, ";")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil {
				q = f
			}
		}
		kind = strings.ToLower(strings.TrimSpace(kind))
		switch kind {
		case "application/json", "text/html", "application/xml", "text/plain":
		case "*/*", "application/*":
			kind = "application/json"
		case "text/*":
			kind = "text/plain"
		default:
			continue
		}
		if q > bestQ {
			best, bestQ = kind, q
		}
	}
	return best
}

func errorBody(kind, message, id string) []byte {
	var b strings.Builder
	switch kind {
	case "text/html":
		b.WriteString("<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n" +
			"  <body>\n    <h1>Error</h1>\n    <p>")
		escapeMarkup(&b, message)
		b.WriteString(".</p>\n    <p>request_id: " + id + "</p>\n  </body>\n</html>\n")
	case "application/xml":
		b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>")
		escapeMarkup(&b, message)
		b.WriteString("</message>\n  <requestid>" + id + "</requestid>\n</error>\n")
	case "text/plain":
		b.WriteString(message + "\nrequest_id: " + id + "\n")
	default:
		b.WriteString("{\n  \"message\":")
		b.Write(appendJSONString(nil, message))
		b.WriteString(",\n  \"request_id\":\"" + id + "\"\n}")
	}
	return []byte(b.String())
}

func escapeMarkup(b *strings.Builder, s string) {
	b.WriteString(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s))
}

// appendJSONString appends s as a JSON string.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// grpcStatus maps an HTTP status to gRPC's code, as Kong does.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 3
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 5
	case 409:
		return 6
	case 429:
		return 8
	case 499:
		return 1
	case 500:
		return 13
	case 501:
		return 12
	case 503:
		return 14
	case 504:
		return 4
	}
	return 2
}
