package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/api/console"
	"sluice.dev/sluice/internal/api/kong"
	"sluice.dev/sluice/internal/api/webserver"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/base/obs"
)

// WorkerCommand is the subcommand of this program that runs a SQL worker.
const WorkerCommand = "sql-worker"

// drainTime is how long requests under way may take when the node stops.
const drainTime = 20 * time.Second

func workerCommand() ([]string, error) {
	self, err := os.Executable()
	return []string{self, WorkerCommand}, err
}

// Run runs a node until ctx ends, then drains it. ready is called once, when the node
// takes requests.
func Run(ctx context.Context, c *Config, logs io.Writer, ready func(handout.Endpoints)) error {
	return run(ctx, c, clock.System{}, logs, ready)
}

// run is Run by a clock.
func run(ctx context.Context, c *Config, now clock.Clock, logs io.Writer, ready func(handout.Endpoints)) (err error) {
	if err := c.complete(); err != nil {
		return err
	}
	configured, err := logLevel(c.Log.Level)
	if err != nil {
		return err
	}
	level := new(level)
	level.LevelVar.Set(configured)
	log := obs.Logger(logs, level)
	for _, key := range c.Ignored {
		log.Warn("configuration: " + key)
	}
	undo := new(undo)
	defer undo.run()

	listeners, err := listen(c) // first: a port in use should cost nothing else
	if err != nil {
		return err
	}
	undo.add(listeners.close)
	b, err := openBase(ctx, c, now, log, undo)
	if err != nil {
		return err
	}
	ca, err := openAuthority(ctx, b.store, b.clock)
	if err != nil {
		return err
	}
	var access *slog.Logger
	if c.Log.Access {
		access = log
	}
	m := newMetrics(access)
	s, err := openServices(ctx, c, b, m, ca, listeners, undo)
	if err != nil {
		return err
	}
	m.watch(c, s, b.store)
	f, err := openFronts(c, b, s, m, ca, level)
	if err != nil {
		return err
	}
	root, err := s.iam.Bootstrap(ctx)
	if err != nil {
		return err
	}
	endpoints := c.endpoints()
	if err := handout.Write(c.Data, endpoints, handout.Key{ID: root.ID, Secret: root.Secret, Region: c.Region}, ca.pem(), writeFile); err != nil {
		return err
	}
	return serve(ctx, c, b, s, f, listeners, func() {
		f.status.SetReady(true)
		log.Info("the node takes requests", "version", Version(), "data", c.Data, "proxy", endpoints.Proxy, "proxy_tls", endpoints.ProxyTLS, "kong_admin", endpoints.KongAdmin,
			"aws", endpoints.AWS, "sql", endpoints.SQL, "console", endpoints.Console, "status", endpoints.Status)
		ready(endpoints)
	})
}

// listeners are the sockets of a node.
type listeners struct {
	proxy, proxyTLS, kong, aws, sql, console, status, cluster net.Listener
	flows                                                     flows
}

func listen(c *Config) (*listeners, error) {
	l := new(listeners)
	for _, p := range []struct {
		name string
		port int
		to   *net.Listener
	}{
		{"proxy", c.Ports.Proxy, &l.proxy}, {"proxy_tls", c.Ports.ProxyTLS, &l.proxyTLS}, {"kong_admin", c.Ports.KongAdmin, &l.kong},
		{"aws", c.Ports.AWS, &l.aws}, {"sql", c.Ports.SQL, &l.sql}, {"console", c.Ports.Console, &l.console}, {"status", c.Ports.Status, &l.status},
	} {
		ln, err := net.Listen("tcp", c.address(p.port))
		if err != nil {
			l.close()
			return nil, listenError("ports."+p.name, c.address(p.port), err)
		}
		*p.to = ln
	}
	var err error
	if l.cluster, err = c.listenCluster(); err != nil {
		l.close()
		return nil, err
	}
	if err := l.flows.listen(c); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// listenError says which key chose an address that cannot be bound.
func listenError(key, address string, err error) error {
	var system syscall.Errno
	if errors.As(err, &system) {
		err = system // without the address once more
	}
	port, ok := strings.CutPrefix(key, "ports.")
	if !ok {
		return fmt.Errorf("cannot listen on %s (%s): %w; choose another address", address, key, err)
	}
	return fmt.Errorf("cannot listen on %s (%s): %w; set %s or --port-base", address, port, err, key)
}

func (l *listeners) close() {
	l.flows.close()
	for _, ln := range []net.Listener{l.proxy, l.proxyTLS, l.kong, l.aws, l.sql, l.console, l.status, l.cluster} {
		if ln != nil {
			_ = ln.Close() // closed already when the servers have stopped
		}
	}
}

func (c *Config) endpoints() handout.Endpoints {
	web := "http"
	if c.TLS {
		web = "https"
	}
	console := web
	if c.Console.TLS {
		console = "https"
	}
	return handout.Endpoints{Proxy: c.url("http", c.Ports.Proxy), ProxyTLS: c.url("https", c.Ports.ProxyTLS), KongAdmin: c.url(web, c.Ports.KongAdmin),
		AWS: c.url(web, c.Ports.AWS), SQL: c.url("postgres", c.Ports.SQL) + "/dev", Console: c.url(console, c.Ports.Console), Status: c.url(web, c.Ports.Status)}
}

// listeners describes the endpoints to people.
func (c *Config) listeners() []console.Listener {
	e := c.endpoints()
	return []console.Listener{
		{Name: "Gateway", URL: e.Proxy, Use: "requests and events of your clients"},
		{Name: "Gateway, TLS", URL: e.ProxyTLS, Use: "the same by HTTPS"},
		{Name: "Kong Admin API", URL: e.KongAdmin, Use: "deck, curl and scripts that configure the gateway"},
		{Name: "AWS APIs", URL: e.AWS, Use: "the AWS CLI and SDKs: IAM, STS, KMS, S3, Kinesis, Firehose"},
		{Name: "SQL", URL: e.SQL, Use: "psql and drivers of PostgreSQL"},
		{Name: "Edge", URL: e.Console + c.Console.ContextPath, Use: "MiNiFi and Sluice agents, and the API of Edge Flow Manager"},
		{Name: "Status", URL: e.Status, Use: "/status/ready, /metrics, /ca.pem"},
	}
}

// serve runs the servers until ctx ends or one fails, then drains them.
func serve(ctx context.Context, c *Config, b *base, s *services, f *fronts, l *listeners, ready func()) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 10+len(l.flows.tcp)+len(l.flows.udp))
	var servers sync.WaitGroup
	start := func(name string, run func() error) {
		servers.Go(func() {
			if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	var web []*http.Server
	browser := c.browser()
	apiTLS := f.tls
	if !c.TLS {
		apiTLS = nil
	}
	for _, h := range []struct {
		name    string
		handler http.Handler
		ln      net.Listener
		tls     *tls.Config
		share   int
		fresh   bool // it must have seen what other nodes committed before the call
	}{
		{"Kong Admin API", browser.Protect(f.kong, kong.Refuse), l.kong, apiTLS, apiShare, true},
		{"AWS APIs", fromClient(f.aws), l.aws, apiTLS, apiShare, true},
		{"console", protected(browser, f.console), l.console, f.consoleTLS, consoleShare, false},
		{"status", protected(browser, f.status), l.status, apiTLS, apiShare, false},
	} {
		if c.Cluster.Enabled && h.fresh {
			h.handler = fresh(b.store, h.handler)
		}
		answer := refuse
		if h.name == "Kong Admin API" {
			answer = kong.Refuse
		}
		h.handler = webserver.Recovered(h.handler, b.log, h.name, answer)
		srv := newWebServer(h.handler, h.ln, c.limits(h.name, h.share, b.log), h.tls)
		web = append(web, srv.Server)
		start(h.name, func() error { return srv.Serve(srv.ln) })
	}
	sqlListener := webserver.Listen(l.sql, c.limits("SQL", apiShare, b.log))
	plain := l.proxy
	start("gateway", func() error { return f.proxy.Serve(running, plain, l.proxyTLS) })
	l.flows.serve(running, f.proxy, start)
	there := elsewhere{s.cluster.mesh, c.Cluster.DataNode}
	switch {
	case s.local == nil:
		start("SQL", func() error { return there.serveSQL(running, sqlListener, b.log) })
	case s.cluster.mesh != nil:
		start("SQL for other nodes", func() error { return f.sql.Serve(running, s.cluster.peerSQL) })
		srv := &http.Server{Handler: fromPeer(f.aws), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: discardLog()}
		web = append(web, srv)
		start("AWS APIs for other nodes", func() error { return srv.Serve(s.cluster.peerAWS) })
		fallthrough
	default:
		start("SQL", func() error { return f.sql.Serve(running, sqlListener) })
	}
	ready()

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	f.status.SetReady(false)
	b.log.Info("draining")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var ends sync.WaitGroup
	ends.Go(func() { logError(b.log, "draining the gateway", f.proxy.Shutdown(drain)) })
	for _, srv := range web {
		ends.Go(func() {
			if srv.Shutdown(drain) != nil {
				_ = srv.Close() // who did not finish in time is cut off
			}
		})
	}
	ends.Wait()
	stop()
	servers.Wait()
	return err
}

// undo is what must be done to stop, last first.
type undo struct{ steps []func() }

func (u *undo) add(step func()) { u.steps = append(u.steps, step) }

func (u *undo) run() {
	for i := len(u.steps) - 1; i >= 0; i-- {
		u.steps[i]()
	}
}
