package http1

import (
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
)

// AppendField appends one header line.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// DropNamed removes the lines that a Connection line names, which are for this hop alone.
// It is done before a plugin sees the message, so that plugins and the next hop see the
// same, and a peer cannot name away what the gateway adds. Lines that record the way so
// far stay.
func DropNamed(h *gateway.Header) {
	var tokens []string
	for _, f := range h.Fields() {
		if gateway.EqualFold(f.Name, "Connection") {
			tokens = append(tokens, f.Value)
		}
	}
	for _, list := range tokens {
		for token := range strings.SplitSeq(list, ",") {
			token = strings.Trim(token, " \t")
			if !HopByHop(token) && !gateway.EqualFold(token, "X-Forwarded-For") && !gateway.EqualFold(token, "Via") {
				h.Del(token)
			}
		}
	}
}

// HopByHop reports whether a header concerns one connection only (RFC 9110 section 7.6.1).
func HopByHop(name string) bool {
	switch len(name) {
	case len("TE"):
		return gateway.EqualFold(name, "TE")
	case len("Trailer"): // also Upgrade
		return gateway.EqualFold(name, "Trailer") || gateway.EqualFold(name, "Upgrade")
	case len("Connection"): // also Keep-Alive
		return gateway.EqualFold(name, "Connection") || gateway.EqualFold(name, "Keep-Alive")
	case len("Proxy-Connection"):
		return gateway.EqualFold(name, "Proxy-Connection")
	case len("Transfer-Encoding"):
		return gateway.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// AppendStatus appends a status line. An empty phrase stands for the usual one.
func AppendStatus(dst []byte, status int, phrase string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if phrase == "" {
		phrase = phrases[status]
	}
	dst = append(dst, phrase...)
	return append(dst, "\r\n"...)
}

// AppendChunk appends p as one chunk; nothing for an empty p, which would end the body.
func AppendChunk(dst, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	dst = strconv.AppendInt(dst, int64(len(p)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, p...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body.
func AppendLastChunk(dst []byte, trailer *gateway.Header) []byte {
	dst = append(dst, "0\r\n"...)
	if trailer != nil {
		for _, f := range trailer.Fields() {
			if !HopByHop(f.Name) && !gateway.EqualFold(f.Name, "Content-Length") {
				dst = AppendField(dst, f.Name, f.Value)
			}
		}
	}
	return append(dst, "\r\n"...)
}

var phrases = map[int]string{
	100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
	206: "Partial Content", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
	402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
	409: "Conflict", 411: "Length Required", 413: "Payload Too Large", 414: "URI Too Long",
	415: "Unsupported Media Type", 417: "Expectation Failed", 422: "Unprocessable Entity", 426: "Upgrade Required",
	429: "Too Many Requests", 431: "Request Header Fields Too Large", 499: "Client Closed Request", 500: "Internal Server Error",
	501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
	505: "HTTP Version Not Supported",
}
