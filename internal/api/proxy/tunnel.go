package proxy

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// upgrade passes on a 101 answer, and then bytes both ways until one side ends.
func (p *Proxy) upgrade(c *clientConn, x *gateway.Exchange, uc *upstreamConn) error {
	if !c.upgrading || !gateway.EqualFold(x.Response.Header.Get("Upgrade"), websocket) {
		return http1.Refuse(502, "101 without the upgrade asked for")
	}
	p.gw.HeaderFilter(x)
	out := c.appendAnswer(c.out[:0], x, &uc.head)
	out = append(out, "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	keepHead(x, out)
	out = append(out, uc.Window()...)
	c.closing, c.tunnel = true, true
	if err := c.write(x, out); err != nil {
		uc.Conn.Close()
		return nil
	}
	wait := x.Upstream.Service.ReadTimeout
	c.Conn.SetDeadline(time.Time{})
	uc.Conn.SetDeadline(time.Time{})
	t := tunnel{wait: wait, p: p}
	t.last.Store(p.nanos())
	done := make(chan int64, 1)
	go func() {
		n := t.copy(uc.Conn, c.Conn, c.Window())
		done <- n
	}()
	x.Times.BytesOut = t.copy(c.Conn, uc.Conn, nil)
	c.Conn.SetReadDeadline(time.Unix(1, 0))
	x.Times.BytesIn = <-done
	uc.Conn.Close()
	x.Times.End = time.Now()
	return nil
}

// tunnel copies bytes both ways. It ends when neither side has sent anything for wait.
type tunnel struct {
	p    *Proxy
	wait time.Duration
	last atomic.Int64 // when a byte came from either side
	over atomic.Bool
}

// copy passes bytes from src to dst until either ends, and tells dst of the end.
func (t *tunnel) copy(dst, src net.Conn, first []byte) (total int64) {
	defer func() {
		if hc, ok := dst.(interface{ CloseWrite() error }); ok {
			hc.CloseWrite()
		}
		if t.over.Swap(true) {
			return
		}
		// One direction has ended: the other may say what it has to, within the wait.
		dst.SetReadDeadline(time.Now().Add(t.wait))
	}()
	buf := t.p.large.Get().(*[]byte)
	defer func() { t.p.large.Put(buf) }()
	quiet := waiter(src)
	pending := first
	for {
		if len(pending) > 0 {
			dst.SetWriteDeadline(time.Now().Add(t.p.cfg.SendTimeout))
			if _, err := dst.Write(pending); err != nil {
				return total
			}
			total += int64(len(pending))
		}
		src.SetReadDeadline(time.Now().Add(t.wait))
		if quiet != nil {
			t.p.large.Put(buf)
			quiet() // an error comes again with the read
			buf = t.p.large.Get().(*[]byte)
		}
		n, err := src.Read(*buf)
		pending = (*buf)[:n]
		if n > 0 {
			t.last.Store(t.p.nanos())
			continue
		}
		silence := time.Duration(t.p.nanos() - t.last.Load())
		if err == nil || isTimeout(err) && silence < t.wait && !t.over.Load() {
			continue
		}
		return total
	}
}

// waiter returns a function that waits until a read would not block, so that a connection
// on which nothing moves needs no buffer; nil where that cannot be told from outside.
func waiter(c net.Conn) func() {
	sc, ok := c.(syscall.Conn) // not TLS, which may hold what it has read
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	ready := func(fd uintptr) bool { return peek(fd) != peekQuiet }
	return func() { raw.Read(ready) }
}
