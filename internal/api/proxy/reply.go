package proxy

import (
	"bytes"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

const (
	serverName = "kong/" + gateway.Version
	via        = "1.1 " + serverName
)

// reply writes an answer that a plugin or the gateway itself gave.
func (c *clientConn) reply(x *gateway.Exchange) {
	c.now = c.p.nanos() // a plugin may have taken its time
	c.p.finishReply(x)
	h := &x.Response.Header
	body := x.Response.Body
	bodyless := x.Response.Status == 204 || x.Response.Status == 304
	if c.p.ending() || !c.body.Done() && c.head.Expect && !c.sentContinue {
		c.closing = true
	}
	out := http1.AppendStatus(c.out[:0], x.Response.Status, "")
	upgrade := false
	for _, f := range h.Fields() {
		if gateway.EqualFold(f.Name, "Content-Length") || gateway.EqualFold(f.Name, "Transfer-Encoding") {
			continue
		}
		if gateway.EqualFold(f.Name, "Connection") {
			upgrade = true
		}
		out = http1.AppendField(out, f.Name, f.Value)
	}
	switch {
	case x.Response.Stream != nil && !bodyless:
		c.replyStream(x, out)
		x.Times.End = time.Now()
		return
	case bodyless:
		body = nil
	default:
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
		out = append(out, "\r\n"...)
	}
	if !upgrade {
		out = c.appendConnection(out)
	}
	out = append(out, "\r\n"...)
	keepHead(x, out)
	if c.head.Method != "HEAD" {
		out = append(out, body...)
		x.Times.BytesOut = int64(len(body))
	}
	c.write(x, out)
	x.Times.End = time.Now()
}

// finishReply adds to an answer of the gateway's own what every one of them has, and runs
// the filters over it.
func (p *Proxy) finishReply(x *gateway.Exchange) {
	h := &x.Response.Header
	var digits [20]byte
	ms := strconv.AppendInt(digits[:0], time.Since(x.Times.Start).Milliseconds(), 10)
	if _, ok := h.Lookup("Date"); !ok {
		h.Add("Date", p.httpDate())
	}
	h.Add("X-Kong-Response-Latency", string(ms))
	if _, ok := h.Lookup("Server"); !ok {
		h.Add("Server", serverName)
	}
	h.Set("X-Kong-Request-Id", x.ID())
	p.gw.HeaderFilter(x)
	if x.FiltersBody() && x.Response.Stream == nil {
		x.Response.Body = p.gw.BodyFilter(x, x.Response.Body, true)
	}
}

// keepHead keeps the head that is sent for the log: out is a head of HTTP/1 with its empty line.
func keepHead(x *gateway.Exchange, out []byte) {
	x.Times.HeadOut = len(out)
	if !x.Logged() {
		return
	}
	if at := bytes.Index(out, []byte("\r\n")); at >= 0 { // behind the status line
		x.SetSent(out[at+2 : len(out)-2])
	}
}

// appendConnection tells the client whether the connection goes on.
func (c *clientConn) appendConnection(out []byte) []byte {
	switch {
	case c.closing:
		return append(out, "Connection: close\r\n"...)
	case c.head.Minor == 0:
		return append(out, "Connection: keep-alive\r\n"...)
	}
	return append(out, "Connection: keep-alive\r\n"...)
}

// maxKeptOut is the largest write buffer a connection keeps while it is busy, and
// maxIdleOut while it waits for a request: idle connections are many.
const (
	maxKeptOut = 64 << 10
	maxIdleOut = 16 << 10
)

// write sends b, the connection's write buffer, to the client.
func (c *clientConn) write(x *gateway.Exchange, b []byte) error {
	c.written = true
	c.extendWrite(c.now, c.p.cfg.SendTimeout)
	_, err := c.Conn.Write(b)
	if cap(b) <= maxKeptOut {
		c.out = b[:0]
	} else {
		c.out = nil
	}
	if err != nil {
		x.Times.ClientGone = true
		c.closing = true
	}
	return err
}
