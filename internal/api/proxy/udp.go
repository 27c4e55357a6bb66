package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// Bounds of UDP: sessions of one listener at a time, and datagrams that wait for a session's
// upstream. What is more is dropped, as datagrams may be.
const (
	maxSessions = 8192
	maxWaiting  = 32
	maxDatagram = 64 << 10
)

// ServeUDP passes datagrams on until ctx ends or Shutdown is called: those of one client's
// address form a session, which ends when nothing has moved for the service's read_timeout.
func (p *Proxy) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	stop := context.AfterFunc(ctx, p.stopAccepting)
	defer stop()
	if !p.listenOn(conn) {
		return conn.Close()
	}
	defer p.accepting.Done()
	u := &udpListener{p: p, conn: conn, local: addrPort(conn.LocalAddr()), sessions: map[netip.AddrPort]*session{}}
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			u.take(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
		case p.stopping.Load() || errors.Is(err, net.ErrClosed):
			return nil
		}
	}
}

type udpListener struct {
	p        *Proxy
	conn     *net.UDPConn
	local    netip.AddrPort
	mu       sync.Mutex
	sessions map[netip.AddrPort]*session
}

// session is the datagrams of one client's address.
type session struct {
	l       *udpListener
	meta    gateway.Conn
	waiting chan []byte
	ctx     context.Context
	cancel  context.CancelFunc
	last    atomic.Int64 // when a datagram went either way
}

// drain ends a session: with the listener closed nothing more can go back to the client.
func (s *session) drain() { s.cancel() }
func (s *session) abort() { s.cancel() }

// take gives a datagram to its session.
func (u *udpListener) take(from netip.AddrPort, data []byte) {
	u.mu.Lock()
	s := u.sessions[from]
	fresh := s == nil
	if fresh {
		if len(u.sessions) >= maxSessions {
			u.mu.Unlock()
			return
		}
		s = &session{l: u, waiting: make(chan []byte, maxWaiting), meta: gateway.Conn{
			Peer: from, PeerIP: from.Addr().String(), Local: u.local, ServerPort: int(u.local.Port())}}
		s.ctx, s.cancel = context.WithCancel(context.Background())
		u.sessions[from] = s
	}
	select {
	case s.waiting <- append([]byte(nil), data...):
	default:
	}
	u.mu.Unlock()
	if fresh {
		u.p.stats.Accepted.Add(1)
		u.p.stats.Active.Add(1)
		u.p.wg.Go(s.run)
	}
}

func (s *session) run() {
	p := s.l.p
	p.track(s)
	x := p.gw.Begin()
	defer func() {
		s.cancel()
		s.l.mu.Lock()
		delete(s.l.sessions, s.meta.Peer)
		s.l.mu.Unlock()
		p.untrack(s)
		p.gw.End(x)
		p.stats.Active.Add(-1)
	}()
	x.Conn = &s.meta
	x.Times.Start = time.Now()
	x.SetContext(s.ctx)
	if !p.gw.Preread(x, gateway.UDP, "") {
		p.log.Debug("no route for a datagram, or it was refused", "client", s.meta.PeerIP)
		return
	}
	x.Times.UpstreamStart = time.Now()
	x.Response.Status = 502
	if err := x.NextTry(x.Times.UpstreamStart); err != nil {
		p.log.Info("no address for the upstream", "service", x.Upstream.Service.Name, "err", err)
		return
	}
	up, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(x.Upstream.Address))
	if err != nil {
		x.FailTry(failureCode(err))
		return
	}
	x.SetForwarded()
	x.Response.Status = 200
	s.touch()
	var answers sync.WaitGroup
	answers.Go(func() { x.Times.BytesOut = s.answer(up, x.Upstream.Service.ReadTimeout) })
	x.Times.BytesIn = s.send(up)
	up.Close()
	answers.Wait()
	x.Times.End = time.Now()
}

func (s *session) touch() { s.last.Store(s.l.p.nanos()) }

// send passes the client's datagrams on until the session ends.
func (s *session) send(up *net.UDPConn) (total int64) {
	for {
		select {
		case data := <-s.waiting:
			s.touch()
			if n, err := up.Write(data); err == nil {
				total += int64(n)
			}
		case <-s.ctx.Done():
			return total
		}
	}
}

// answer passes the upstream's datagrams back, and ends the session when nothing moves.
func (s *session) answer(up *net.UDPConn, wait time.Duration) (total int64) {
	defer s.cancel()
	p := s.l.p
	buf := p.large.Get().(*[]byte)
	defer p.large.Put(buf)
	for {
		up.SetReadDeadline(time.Now().Add(wait - time.Duration(p.nanos()-s.last.Load())))
		n, err := up.Read(*buf)
		switch {
		case err == nil:
			s.touch()
			if _, err := s.l.conn.WriteToUDPAddrPort((*buf)[:n], s.meta.Peer); err == nil {
				total += int64(n)
			}
		case errors.Is(err, net.ErrClosed):
			return total
		case isTimeout(err):
			if time.Duration(p.nanos()-s.last.Load()) >= wait {
				return total
			}
		default: // nobody listens there, say: the next datagram may find somebody
			select {
			case <-s.ctx.Done():
				return total
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
