package sink

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
)

// Config says where writes go.
type Config struct {
	Network   string // tcp, udp or unixgram
	Address   string // host:port, or a socket's path
	Timeout   time.Duration
	Keepalive time.Duration // idle connections are closed after it; 0: a minute
	TLS       *tls.Config   // nil: clear text
}

// Sink is a server that is written to. The methods may be called at the same time.
type Sink struct {
	c     Config
	clock clock.Clock

	mu   sync.Mutex
	conn net.Conn
	made time.Time
	used time.Time
}

// maxAge is how long one UDP connection is written to.
const maxAge = time.Minute

// New returns a sink that is not connected yet.
func New(c Config, clk clock.Clock) *Sink {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Keepalive <= 0 {
		c.Keepalive = time.Minute
	}
	return &Sink{c: c, clock: clk}
}

// Write writes p at once: over UDP it is one datagram.
func (s *Sink) Write(ctx context.Context, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if s.conn != nil && (now.Sub(s.used) >= s.c.Keepalive || s.c.Network == "udp" && now.Sub(s.made) >= maxAge) {
		s.shut()
	}
	reused := s.conn != nil
	for {
		err := s.write(ctx, p, now)
		if err == nil {
			s.used = now
			return nil
		}
		s.shut()
		if !reused || ctx.Err() != nil {
			return err
		}
		reused = false
	}
}

func (s *Sink) write(ctx context.Context, p []byte, now time.Time) error {
	if s.conn == nil {
		ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, s.c.Network, s.c.Address)
		if err != nil {
			return err
		}
		if s.c.TLS != nil {
			secure := tls.Client(conn, s.c.TLS)
			if err := secure.HandshakeContext(ctx); err != nil {
				_ = conn.Close() // the first error is the one to report
				return err
			}
			conn = secure
		}
		s.conn, s.made = conn, now
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.c.Timeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(p)
	return err
}

func (s *Sink) shut() {
	if s.conn != nil {
		_ = s.conn.Close() // nothing depends on it any more
		s.conn = nil
	}
}

// Close closes the connection.
func (s *Sink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut()
}
