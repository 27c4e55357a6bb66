package pgwire

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/warehouse"
)

// Passwords knows the secrets that users sign in with. An unknown user is an error like
// any other; the front does not let the client see the difference.
type Passwords interface {
	SQLPassword(ctx context.Context, user string) (secret string, id caller.Identity, err error)
}

// Config sets the front's limits. The zero value of a field means its default.
type Config struct {
	TLS            *tls.Config   // nil: clients are told there is no TLS
	RequireTLS     bool          // refuse to authenticate without
	MaxConnections int           // 200
	MaxMessage     int           // bytes of one message of a client; 16 MiB
	MaxStatements  int           // prepared statements and portals of one connection, each; 1000
	FailDelay      time.Duration // after a wrong password; doubled for each further one of a minute; 250 ms
	AuthTime       time.Duration // from the connection to the end of the authentication; 30 s
	IdleTime       time.Duration // without a statement, after which a connection is closed; none
}

func (c Config) withDefaults() Config {
	if c.MaxConnections == 0 {
		c.MaxConnections = 200
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 16 << 20
	}
	if c.MaxStatements == 0 {
		c.MaxStatements = 1000
	}
	if c.FailDelay == 0 {
		c.FailDelay = 250 * time.Millisecond
	}
	if c.AuthTime == 0 {
		c.AuthTime = 30 * time.Second
	}
	return c
}

// Deps is what the front needs.
type Deps struct {
	Warehouse *warehouse.Service
	Passwords Passwords
	Log       *slog.Logger
}

// Server serves PostgreSQL clients.
type Server struct {
	cfg  Config
	deps Deps
	salt [32]byte // keys the salts of the SCRAM exchange

	mu    sync.Mutex
	conns map[uint32]*conn // by process id, for cancellation
	next  uint32

	failures failures
}

// New returns a server.
func New(cfg Config, d Deps) (*Server, error) {
	if d.Warehouse == nil || d.Passwords == nil || d.Log == nil {
		return nil, errors.New("pgwire: a dependency is missing")
	}
	if cfg.RequireTLS && cfg.TLS == nil {
		return nil, errors.New("pgwire: TLS is required but not configured")
	}
	s := &Server{cfg: cfg.withDefaults(), deps: d, conns: map[uint32]*conn{}}
	_, _ = rand.Read(s.salt[:]) // never fails: crypto/rand aborts the program instead
	return s, nil
}

// Serve accepts connections until ctx ends, then closes them and returns when all are
// gone. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept SQL connections: %w", err)
		}
		wg.Go(func() { s.serve(ctx, nc) })
	}
}

func (s *Server) serve(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &conn{
		server: s, net: nc, ctx: ctx, statements: map[string]*prepared{}, portals: map[string]*portal{},
	}
	defer func() { c.net.Close() }()
	// The end of the server unblocks a connection that waits for its client.
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.attach(nc)
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.Error("panic while serving a SQL connection", "panic", p, "stack", string(debug.Stack()))
			_ = c.net.SetDeadline(time.Now().Add(time.Second))
			_ = c.fatal("XX000", "an internal error ended the connection; the node's log says which")
		}
	}()
	if err := c.run(); err != nil && ctx.Err() == nil {
		s.deps.Log.Debug("a SQL connection ended", "remote", nc.RemoteAddr().String(), "error", err)
	}
}

// register gives a connection the key by which it can be canceled; false when there are
// too many.
func (s *Server) register(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.cfg.MaxConnections {
		return false
	}
	for {
		s.next++
		if _, taken := s.conns[s.next]; !taken && s.next != 0 {
			break
		}
	}
	c.pid = s.next
	var key [4]byte
	_, _ = rand.Read(key[:])
	c.key = key[:]
	s.conns[c.pid] = c
	return true
}

func (s *Server) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.pid != 0 {
		delete(s.conns, c.pid)
	}
}

// cancel interrupts what the connection runs, if the key is right.
func (s *Server) cancel(pid uint32, key []byte) {
	s.mu.Lock()
	c := s.conns[pid]
	s.mu.Unlock()
	if c != nil && subtle.ConstantTimeCompare(c.key, key) == 1 {
		c.interrupt()
	}
}

// parameters are what a client is told when it has signed in.
var parameters = []string{
	"server_version", "server_encoding", "client_encoding", "application_name", "is_superuser", "session_authorization",
	"DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "default_transaction_read_only",
}
