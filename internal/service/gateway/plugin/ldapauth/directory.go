package ldapauth

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Bounds of one instance's connections.
const (
	maxOpen = 64 // binds at a time; further ones wait
	maxIdle = 16
)

// directory is the LDAP server with the connections to it.
type directory struct {
	clock     clock.Clock
	url       string
	tls       *tls.Config
	startTLS  bool
	timeout   time.Duration
	keepalive time.Duration
	open      chan struct{} // holds a token for each bind in progress

	mu     sync.Mutex
	idle   []idle // the longest unused first
	closed bool
}

type idle struct {
	conn  *ldap.Conn
	since time.Time
}

func newDirectory(c schema.Record, clock clock.Clock) *directory {
	host := strings.Trim(fields.String(c, "ldap_host"), "[]")
	d := &directory{clock: clock, startTLS: fields.Bool(c, "start_tls"),
		timeout: fields.Duration(c, "timeout"), keepalive: fields.Duration(c, "keepalive"),
		tls:  &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: !fields.Bool(c, "verify_ldap_host")},
		open: make(chan struct{}, maxOpen)}
	if d.timeout == 0 {
		d.timeout = 10 * time.Second
	}
	scheme := "ldap://"
	if fields.Bool(c, "ldaps") {
		scheme = "ldaps://"
	}
	d.url = scheme + net.JoinHostPort(host, strconv.Itoa(fields.Int(c, "ldap_port")))
	return d
}

// bind reports whether the directory takes a password for a name's. An error says that it
// could not be asked.
func (d *directory) bind(ctx context.Context, name, password string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	select {
	case d.open <- struct{}{}:
		defer func() { <-d.open }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	for {
		conn, kept, err := d.take()
		if err != nil {
			return false, err
		}
		err = conn.Bind(name, password)
		refused, answered := errors.AsType[*ldap.Error](err)
		switch {
		case err == nil, answered && refused.ResultCode == ldap.LDAPResultInvalidCredentials:
			d.give(conn)
			return err == nil, nil
		case answered && refused.ResultCode < ldap.ErrorNetwork: // the directory's own words
			conn.Close()
			return false, nil
		}
		conn.Close()
		if !kept || ctx.Err() != nil { // a kept connection may have ended meanwhile
			return false, err
		}
	}
}

// take returns a connection, and whether it had been kept.
func (d *directory) take() (conn *ldap.Conn, kept bool, err error) {
	now := d.clock.Now()
	d.mu.Lock()
	for n := len(d.idle); n > 0; n = len(d.idle) {
		last := d.idle[n-1]
		d.idle = d.idle[:n-1]
		if now.Sub(last.since) < d.keepalive && !last.conn.IsClosing() {
			d.mu.Unlock()
			return last.conn, true, nil
		}
		last.conn.Close()
	}
	d.mu.Unlock()
	conn, err = ldap.DialURL(d.url, ldap.DialWithDialer(&net.Dialer{Timeout: d.timeout}), ldap.DialWithTLSConfig(d.tls))
	if err != nil {
		return nil, false, err
	}
	conn.SetTimeout(d.timeout)
	if d.startTLS {
		if err := conn.StartTLS(d.tls); err != nil {
			conn.Close()
			return nil, false, err
		}
	}
	return conn, false, nil
}

// give keeps a connection for the next bind, and ends those that were kept too long.
func (d *directory) give(conn *ldap.Conn) {
	now := d.clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.idle) > 0 && (len(d.idle) >= maxIdle || now.Sub(d.idle[0].since) >= d.keepalive) {
		d.idle[0].conn.Close()
		d.idle = d.idle[1:]
	}
	if d.closed || d.keepalive == 0 {
		conn.Close()
		return
	}
	d.idle = append(d.idle, idle{conn, now})
}

func (d *directory) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.idle {
		i.conn.Close()
	}
	d.idle, d.closed = nil, true
}
