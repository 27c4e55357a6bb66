package awswire

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"time"

	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
)

// Config is what a server of AWS APIs needs.
type Config struct {
	Services    []Service
	Credentials Credentials
	Clock       clock.Clock            // default the machine's
	Log         *slog.Logger           // default slog's
	Domains     []string               // base domains of S3's virtual hosts; default localhost
	Hosts       func(host string) bool // whether a Host header names this node; nil: every one does
	Buffer      int64                  // bytes of bodies held at one time; default 256 MiB
	Observe     func(Call)             // told of every call when it is answered; may be nil
}

// Call is one answered call, for metrics and the audit.
type Call struct {
	RequestID string
	Service   string // empty where the request named none
	Operation string // empty where the request named none
	Identity  caller.Identity
	Region    string
	SourceIP  string
	UserAgent string
	Began     time.Time
	Duration  time.Duration
	Status    int
	Code      string // of the error; empty for a success
	Err       error  // for operators: with its cause
	In, Out   int64  // bytes of the bodies on the wire
}

// server is the handler of all APIs on one port.
type server struct {
	verifier  verifier
	clock     clock.Clock
	log       *slog.Logger
	domains   []string
	hosts     func(string) bool
	observe   func(Call)
	buffers   *semaphore.Weighted
	capacity  int64
	bySigning map[string]*front
	byTarget  map[string]*front
	byVersion map[string]*front
}

// front is a Service with its tables.
type front struct {
	Service
	handlers map[string]Handler
	routes   []*restRoute
}

// New returns the handler of the services.
func New(cfg Config) http.Handler {
	s := &server{
		clock: cfg.Clock, log: cfg.Log, domains: cfg.Domains, hosts: cfg.Hosts, observe: cfg.Observe, capacity: cfg.Buffer,
		bySigning: map[string]*front{}, byTarget: map[string]*front{}, byVersion: map[string]*front{},
	}
	if s.clock == nil {
		s.clock = clock.System{}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.domains == nil {
		s.domains = []string{"localhost"}
	}
	if s.capacity == 0 {
		s.capacity = buffered
	}
	s.buffers = semaphore.NewWeighted(s.capacity)
	s.verifier = verifier{credentials: cfg.Credentials, now: s.clock.Now}
	for _, svc := range cfg.Services {
		s.add(svc)
	}
	return s
}

func (s *server) add(svc Service) {
	f := &front{Service: svc, handlers: map[string]Handler{}}
	var missing []string
	for _, h := range svc.Handlers {
		f.handlers[h.name] = h
		planOf(h.in) // a type without a wire form is found now
		planOf(h.out)
		if svc.Resources[h.name] == nil {
			missing = append(missing, h.name)
		}
	}
	if missing != nil {
		s.log.Error("operations without a row of actions are refused", "service", svc.API.Name, "operations", missing)
	}
	for i := range svc.API.Ops {
		f.routes = append(f.routes, newRestRoute(&svc.API.Ops[i], true))
	}
	for i := range svc.API.Unserved {
		f.routes = append(f.routes, newRestRoute(&svc.API.Unserved[i], false))
	}
	sortRoutes(f.routes)
	s.bySigning[svc.API.Signing] = f
	if svc.API.Target != "" {
		s.byTarget[svc.API.Target] = f
	}
	if f.formProtocol() != 0 {
		s.byVersion[svc.API.Version] = f
	}
}

// call is one request on its way through the pipeline.
type call struct {
	server *server
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	began  time.Time
	id     string
	passed bool // another node has answered

	front    *front
	protocol Protocol
	name     string // of the operation, as far as known
	op       *Op
	handler  Handler

	auth       authorization
	authErr    error // why there is none
	credential Credential
	key        []byte // that signed
	payload    string // S3: what x-amz-content-sha256 says

	path string // escaped, with the bucket that the host names
	m    *message
	body *Body // where the operation streams
	held int64 // bytes of the server's buffers

	ledger *caller.Ledger
	in     reflect.Value
	out    any
	sent   int64
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
