package proxy

import (
	"io"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// relay brings the upstream's answer, whose head has been read, to the client, and leaves
// the upstream's connection to be given back. An error says that the answer could not be completed.
func (p *Proxy) relay(c *clientConn, x *gateway.Exchange, uc *upstreamConn) error {
	h := &uc.head
	if h.MoreTokens {
		http1.DropNamed(&x.Response.Header)
	}
	x.SetForwarded()
	c.now = p.at(x.Times.UpstreamHeader)
	x.AnswerTry(h.Status)
	x.Response.Status, x.Response.Length = h.Status, h.Length
	if h.Status == 101 {
		return p.upgrade(c, x, uc)
	}
	bodyless := h.NoBody(x.Request.Method)
	if bodyless {
		uc.body.Reset(&uc.stream, http1.Framing{})
	} else {
		uc.body.Reset(&uc.stream, h.Framing)
	}
	if x.BuffersResponse() && !bodyless {
		return p.relayWhole(c, x, uc)
	}
	p.gw.HeaderFilter(x)
	filters := x.FiltersBody() && !bodyless
	length := h.Length
	// What becomes of a body that plugins change is not known to HEAD: it says no length.
	if x.FiltersBody() || x.BuffersResponse() || h.Chunked || h.UntilClose {
		length = -1
	}
	chunked := length < 0 && !bodyless && c.head.Minor == 1
	if length < 0 && !bodyless && !chunked || p.ending() {
		c.closing = true
	}
	out := c.appendAnswer(c.out[:0], x, h)
	switch {
	case chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case length >= 0 && (h.ContentLength || !bodyless):
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, length, 10)
		out = append(out, "\r\n"...)
	}
	out = c.appendConnection(out)
	out = append(out, "\r\n"...)
	keepHead(x, out)
	err := p.relayBody(c, x, uc, out, chunked, filters)
	x.Times.End = time.Now()
	if err == nil && uc.body.Done() && !uc.head.Close && len(uc.Window()) == 0 {
		c.spare = uc
	} else {
		uc.Conn.Close()
	}
	if err != nil {
		c.closing = true
		c.cut = !x.Times.ClientGone
	}
	return nil // the client has at least the head: there is nothing to try again
}

// appendAnswer writes the answer's head, but for the body's framing, Connection and the
// empty line.
func (c *clientConn) appendAnswer(out []byte, x *gateway.Exchange, h *http1.Head) []byte {
	phrase := h.Phrase
	if x.Response.Status != h.Status {
		phrase = ""
	}
	out = http1.AppendStatus(out, x.Response.Status, phrase)
	priorVia := ""
	for i := range x.Response.Header.Fields() {
		f := &x.Response.Header.Fields()[i]
		switch f.Name[0] | 0x20 {
		case 'v':
			if gateway.EqualFold(f.Name, "Via") {
				priorVia = f.Value
				continue
			}
		case 't', 'u', 'c', 'k', 'p':
			if http1.HopByHop(f.Name) {
				continue
			}
		case 'x':
			if replacedAnswerHeader(f.Name) {
				continue
			}
		}
		out = http1.AppendField(out, f.Name, f.Value)
	}
	t := &x.Times
	out = append(out, "X-Kong-Upstream-Latency: "...)
	out = strconv.AppendInt(out, t.UpstreamHeader.Sub(t.UpstreamStart).Milliseconds(), 10)
	out = append(out, "\r\nX-Kong-Proxy-Latency: "...)
	out = strconv.AppendInt(out, t.UpstreamStart.Sub(t.Start).Milliseconds(), 10)
	out = append(out, "\r\nVia: "...)
	if priorVia != "" {
		out = append(out, priorVia...)
		out = append(out, ", "...)
	}
	out = append(out, via...)
	out = append(out, "\r\nX-Kong-Request-Id: "...)
	out = append(out, x.ID()...)
	return append(out, "\r\n"...)
}

// replacedAnswerHeader reports whether an answer's header is one the gateway writes.
func replacedAnswerHeader(name string) bool {
	switch len(name) {
	case len("X-Kong-Request-Id"):
		return gateway.EqualFold(name, "X-Kong-Request-Id")
	case len("X-Kong-Proxy-Latency"):
		return gateway.EqualFold(name, "X-Kong-Proxy-Latency")
	case len("X-Kong-Upstream-Latency"):
		return gateway.EqualFold(name, "X-Kong-Upstream-Latency")
	}
	return false
}

// relayBody writes the head in out and then the body as it arrives. What lies in the
// upstream's buffer already leaves with the head, in one write.
func (p *Proxy) relayBody(c *clientConn, x *gateway.Exchange, uc *upstreamConn, out []byte, chunked, filters bool) error {
	if left := uc.body.Left(); left < 0 || left > smallBuffer {
		uc.enlarge()
	}
	if len(uc.Window()) == 0 && !uc.body.Done() {
		// Nothing of the body is here: the head goes ahead, the upstream may take its time.
		if err := c.write(x, out); err != nil {
			return err
		}
		out = c.out[:0]
	}
	for first := true; ; first = false {
		chunk, err := uc.body.Next(largeBuffer)
		if !first {
			c.now = p.nanos()
		}
		if err != nil && err != io.EOF {
			if len(out) > 0 {
				c.write(x, out)
			}
			return err
		}
		last := err == io.EOF
		n := len(chunk)
		if !chunked && !filters && n > maxIdleOut && len(out) > 0 { // too much to copy behind the head
			if err := c.write(x, out); err != nil {
				return err
			}
			out = c.out[:0]
		}
		if !chunked && !filters && len(out) == 0 && n > 0 { // from buffer to socket, no copy
			c.written = true
			c.extendWrite(p.nanos(), p.cfg.SendTimeout)
			if _, err := c.Conn.Write(chunk); err != nil {
				x.Times.ClientGone = true
				c.closing = true
				return err
			}
			x.Times.BytesOut += int64(n)
			uc.body.Advance(n)
			continue
		}
		data := chunk
		if filters {
			uc.body.Advance(n)
			last = last || uc.body.Done()
			data = p.gw.BodyFilter(x, chunk, last)
		}
		if chunked {
			out = http1.AppendChunk(out, data)
		} else {
			out = append(out, data...)
		}
		x.Times.BytesOut += int64(len(data))
		if !filters {
			uc.body.Advance(n)
			last = last || uc.body.Done()
		}
		if last && chunked {
			out = http1.AppendLastChunk(out, uc.body.Trailer())
		}
		if len(out) > 0 {
			if err := c.write(x, out); err != nil {
				return err
			}
			out = c.out[:0]
		}
		if last {
			return nil
		}
	}
}
