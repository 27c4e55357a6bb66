package http1

import (
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
)

// AppendField appends one header line.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendFields appends the end-to-end lines of h. head tells whether Connection named
// further lines that must not be passed on.
func AppendFields(dst []byte, h *gateway.Header, head *Head) []byte {
	for _, f := range h.Fields() {
		if HopByHop(f.Name) || head != nil && head.MoreTokens && Named(h, f.Name) {
			continue
		}
		dst = AppendField(dst, f.Name, f.Value)
	}
	return dst
}

// Named reports whether a Connection line names the header.
func Named(h *gateway.Header, name string) bool {
	for _, f := range h.Fields() {
		if gateway.EqualFold(f.Name, "Connection") && gateway.HasToken(f.Value, name) {
			return true
		}
	}
	return false
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
	429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
	501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
	505: "HTTP Version Not Supported",
}
