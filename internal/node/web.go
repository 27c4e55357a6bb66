package node

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/api/webserver"
)

// reservedConnections are kept on each listener for clients on this machine.
const reservedConnections = 8

// browser says by which names clients may call the node's APIs, and which web pages may.
func (c *Config) browser() webserver.Browser {
	b := webserver.Browser{Hosts: slices.Collect(listed(c.HTTP.Hosts)), Origins: slices.Collect(listed(c.HTTP.Origins))}
	for _, bound := range []string{c.Host, c.Kong.AdminHost, c.Console.Host} {
		if bound != "" {
			b.Hosts = append(b.Hosts, bound)
		}
	}
	if host, err := os.Hostname(); err == nil {
		b.Hosts = append(b.Hosts, host)
	}
	return b
}

// protected puts a front that answers JSON behind the browser's rules.
func protected(b webserver.Browser, h http.Handler) http.Handler { return b.Protect(h, refuse) }

// refuse answers as the console and the status port do.
func refuse(w http.ResponseWriter, status int, why string) {
	reason := "Forbidden"
	if status == http.StatusInternalServerError {
		reason = "InternalError"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"reason": reason, "message": why}}) // the client is gone if it fails
}

// limits bounds the connections of an API's listener: a share of the files that the process may open, as
// the gateway needs half of them.
func (c *Config) limits(name string, share int, log *slog.Logger) webserver.Limits {
	n := c.HTTP.Connections
	if n == 0 {
		files := syscall.Rlimit{Cur: 1024}
		_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) // what every system gives stands in
		n = int(min(files.Cur, 1<<20)) / share
		n = max(n, reservedConnections*2)
	}
	return webserver.Limits{Connections: n, Reserve: reservedConnections, Name: name, Log: log}
}

// The shares of the process's files that listeners may have connections of.
const (
	apiShare     = 16
	consoleShare = 8 // edge agents keep their connections
)

// webServer is a server of one of the node's APIs.
type webServer struct {
	*http.Server
	ln net.Listener
}

// newWebServer returns a server of h on ln, bounded, and with TLS where there is a configuration for it.
func newWebServer(h http.Handler, ln net.Listener, l webserver.Limits, secure *tls.Config) webServer {
	bounded := webserver.Listen(ln, l)
	s := webServer{&http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: discardLog(), ConnState: bounded.Idle}, bounded}
	if secure != nil {
		s.ln = tls.NewListener(bounded, secure)
	}
	return s
}
