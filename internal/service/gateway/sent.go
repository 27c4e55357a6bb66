package gateway

import (
	"bytes"
	"strconv"
)

// Logged reports whether plugins act on the exchange when it has ended. Only then does the
// engine keep the head that it sent.
func (x *Exchange) Logged() bool { return x.chain != nil && len(x.chain.log) > 0 }

// SetSent is for the engine: it keeps the lines of the head that was sent to the client, each
// ending with CR LF. They are Response.Header in the log phase: what the engine writes last,
// such as the framing of the body and the latencies, no filter could see.
func (x *Exchange) SetSent(lines []byte) { x.sent = append(x.sent[:0], lines...) }

// AddSent adds one line to those of SetSent.
func (x *Exchange) AddSent(name, value string) {
	x.sent = append(append(x.sent, name...), ": "...)
	x.sent = append(append(x.sent, value...), "\r\n"...)
}

// takeSent makes the head that was sent the response's header.
func (x *Exchange) takeSent() {
	if len(x.sent) == 0 {
		return
	}
	h := &x.Response.Header
	h.Reset()
	for rest := x.sent; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\r\n"))
		rest = after
		if name, value, ok := bytes.Cut(line, []byte(":")); ok {
			h.AddValid(aliasString(name), aliasString(bytes.TrimSpace(value)))
		}
	}
}

// AppendUpstreamStatus appends the status of every attempt to reach the upstream in their
// order, divided by commas, as nginx's $upstream_status has them: of one that failed the
// status that stands for the failure. It appends nothing where no address was tried.
func (x *Exchange) AppendUpstreamStatus(dst []byte) []byte {
	status := func(code int) {
		if code == 0 {
			dst = append(dst, '-') // the client left before there was one
		} else {
			dst = strconv.AppendInt(dst, int64(code), 10)
		}
	}
	if len(x.tries) == 0 && x.Times.UpstreamStatus != 0 {
		status(x.Times.UpstreamStatus)
	}
	for i := range x.tries {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if t := &x.tries[i]; t.Failed {
			status(t.Code)
		} else {
			status(x.Times.UpstreamStatus)
		}
	}
	return dst
}
