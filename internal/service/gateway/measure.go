package gateway

import "time"

// Latencies are a request's times in milliseconds, divided as Kong divides them.
type Latencies struct {
	Kong    int64 // before the upstream was asked; for an answer of ours until that was there
	Proxy   int64 // the upstream's, until its head was read; -1 where it gave no answer
	Receive int64 // from the upstream's head to the end of the answer
	Request int64 // all of it
}

// Latencies returns the times of an exchange that has ended.
func (x *Exchange) Latencies() Latencies {
	t := &x.Times
	ms := func(from, to time.Time) int64 { return max(to.Sub(from).Milliseconds(), 0) }
	l := Latencies{Proxy: -1, Request: ms(t.Start, t.End)}
	switch {
	case x.forwarded && !t.UpstreamHeader.IsZero():
		l.Kong = ms(t.Start, t.UpstreamStart)
		l.Proxy = ms(t.UpstreamStart, t.UpstreamHeader)
		l.Receive = ms(t.UpstreamHeader, t.End)
	case !t.UpstreamStart.IsZero():
		l.Kong = ms(t.Start, t.UpstreamStart)
	default:
		l.Kong = l.Request
	}
	return l
}

// RequestSize returns the bytes of the request, head and body.
func (x *Exchange) RequestSize() int64 {
	head := x.Times.HeadIn
	if head == 0 {
		head = len(x.Request.Method) + len(x.Request.RawPath) + len(x.Request.RawQuery) + len(x.Request.Authority) + fieldBytes(&x.Request.Header)
	}
	return int64(head) + x.Times.BytesIn
}

// ResponseSize returns the bytes of the answer, head and body.
func (x *Exchange) ResponseSize() int64 {
	head := x.Times.HeadOut
	if head == 0 && !x.IsStream() {
		head = fieldBytes(&x.Response.Header)
	}
	return int64(head) + x.Times.BytesOut
}

// fieldBytes stands in for a head's size where it was sent compressed: what its lines
// would have taken in HTTP/1.
func fieldBytes(h *Header) int {
	n := 0
	for _, f := range h.Fields() {
		n += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	return n
}
