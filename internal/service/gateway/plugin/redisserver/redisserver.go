package redisserver

import (
	"crypto/tls"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Server is a Redis server.
type Server struct {
	Timeout time.Duration // of one call

	option rueidis.ClientOption
	mu     sync.Mutex
	client rueidis.Client // nil until the server was reached for the first time
	failed time.Time      // when it was last tried in vain
	why    error
	closed bool
}

// Field describes a server. description says what it is used for.
func Field(description string) *schema.Field {
	return &schema.Field{Name: "redis", Kind: schema.Nested, Required: true, Description: description,
		Fields: []*schema.Field{
			{Name: "host", Kind: schema.String},
			{Name: "port", Kind: schema.Integer, Default: 6379, Between: []float64{0, 65535}},
			{Name: "timeout", Kind: schema.Integer, Default: 2000, Between: []float64{0, 2147483646}, Description: "Milliseconds for one call."},
			{Name: "username", Kind: schema.String, Referenceable: true},
			{Name: "password", Kind: schema.String, Referenceable: true, Encrypted: true, LenMin: schema.Ptr(0)},
			{Name: "database", Kind: schema.Integer, Default: 0},
			{Name: "ssl", Kind: schema.Boolean, Default: false},
			{Name: "ssl_verify", Kind: schema.Boolean, Default: false},
			{Name: "server_name", Kind: schema.String, Description: "Name that the server's certificate must have; its host."},
		}}
}

// Shorthands are the names that the fields had before they were a record. kind is the kind
// of plugin.
func Shorthands(kind string) (out []schema.Shorthand) {
	for _, f := range Field("").Fields {
		s := schema.Shorthand{Name: "redis_" + f.Name, Kind: f.Kind, LenMin: f.LenMin, Path: "redis." + f.Name, Replaced: true, Shown: true}
		s.Deprecated = kind + ": config." + s.Name + " is deprecated, please use config." + s.Path + " instead"
		out = append(out, s)
	}
	return out
}

// New returns the server that a record of Field describes. It is connected to when it is
// first asked for.
func New(c schema.Record) *Server {
	text := func(name string) string { s, _ := c[name].(string); return s }
	number := func(name string) int { n, _ := c[name].(float64); return int(n) }
	o := rueidis.ClientOption{
		InitAddress: []string{net.JoinHostPort(text("host"), strconv.Itoa(number("port")))},
		Username:    text("username"), Password: text("password"), SelectDB: number("database"),
		DisableCache: true, ForceSingleClient: true,
	}
	timeout := time.Duration(number("timeout")) * time.Millisecond
	o.Dialer = net.Dialer{Timeout: timeout}
	if secure, _ := c["ssl"].(bool); secure {
		verify, _ := c["ssl_verify"].(bool)
		name := text("server_name")
		if name == "" {
			name = text("host")
		}
		o.TLSConfig = &tls.Config{ServerName: name, InsecureSkipVerify: !verify, MinVersion: tls.VersionTLS12}
	}
	return &Server{Timeout: timeout, option: o}
}

// tryAgain is how long a server that could not be reached is left alone: callers in the
// meantime are told so at once.
const tryAgain = time.Second

// Client returns the client. Once it has reached the server it connects again by itself.
func (s *Server) Client() (rueidis.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.client != nil:
		return s.client, nil
	case s.closed:
		return nil, net.ErrClosed
	case s.why != nil && time.Since(s.failed) < tryAgain:
		return nil, s.why
	}
	client, err := rueidis.NewClient(s.option)
	if err != nil {
		s.failed, s.why = time.Now(), err
		return nil, err
	}
	s.client = client
	return client, nil
}

// Close ends the connections.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed = true; s.client != nil {
		s.client.Close()
	}
}
