package proxy

import (
	"errors"
	"io"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// errAnswerTooLarge says that an answer that plugins want to see as a whole is larger
// than Config.BufferAnswer.
var errAnswerTooLarge = errors.New("proxy: the answer is too large to be held as a whole")

// readWhole reads an answer's body to its end.
func (p *Proxy) readWhole(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, int64(p.cfg.BufferAnswer)+1))
	if err == nil && len(body) > p.cfg.BufferAnswer {
		err = errAnswerTooLarge
	}
	return body, err
}

// relayWhole reads the upstream's answer to its end, lets the plugins that act on whole
// answers see it, and sends what they made of it. An error says that nothing was sent.
func (p *Proxy) relayWhole(c *clientConn, x *gateway.Exchange, uc *upstreamConn) error {
	body, err := p.readWhole(&uc.body)
	if err != nil {
		return err
	}
	if uc.body.Done() && !uc.head.Close && len(uc.Window()) == 0 {
		c.spare = uc
	} else {
		uc.Conn.Close()
	}
	x.Response.Body, x.Response.Length = body, int64(len(body))
	if p.gw.Response(x); x.Answered() {
		c.reply(x)
		return nil
	}
	p.gw.HeaderFilter(x)
	body = x.Response.Body
	if x.FiltersBody() {
		body = p.gw.BodyFilter(x, body, true)
	}
	if p.ending() {
		c.closing = true
	}
	out := c.appendAnswer(c.out[:0], x, &uc.head)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	out = append(out, "\r\n"...)
	out = append(c.appendConnection(out), "\r\n"...)
	keepHead(x, out)
	out = append(out, body...)
	x.Times.BytesOut = int64(len(body))
	c.write(x, out)
	x.Times.End = time.Now()
	return nil
}

// replyStream writes an answer of a plugin's whose body comes piece by piece. head is
// what was written of the answer's head so far.
func (c *clientConn) replyStream(x *gateway.Exchange, head []byte) {
	stream := x.Response.Stream
	defer stream.Close()
	chunked := c.head.Minor == 1
	if chunked {
		head = append(head, "Transfer-Encoding: chunked\r\n"...)
	} else {
		c.closing = true
	}
	head = append(c.appendConnection(head), "\r\n"...)
	keepHead(x, head)
	if c.write(x, head) != nil || c.head.Method == "HEAD" {
		return
	}
	buf := c.p.large.Get().(*[]byte)
	defer c.p.large.Put(buf)
	for {
		n, err := stream.Read(*buf)
		c.now = c.p.nanos()
		data := (*buf)[:n]
		if x.FiltersBody() {
			data = c.p.gw.BodyFilter(x, data, err != nil)
		}
		x.Times.BytesOut += int64(len(data))
		out := c.out[:0]
		if chunked {
			out = http1.AppendChunk(out, data)
		} else {
			out = append(out, data...)
		}
		if err == io.EOF && chunked {
			out = http1.AppendLastChunk(out, nil)
		}
		if len(out) > 0 && c.write(x, out) != nil {
			return
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			c.cut = true // the client must see that it is not the whole
			return
		}
	}
}
