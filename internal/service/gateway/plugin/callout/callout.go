package callout

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// Config says how servers are called.
type Config struct {
	Timeout    time.Duration // of a whole call, and to connect
	Keepalive  time.Duration // how long an idle connection is kept
	Unverified bool          // servers' certificates are not verified
	Proxy      string        // URL of a proxy; "": none
	MaxAnswer  int           // bytes of a body
}

// Client calls servers.
type Client struct {
	max     int
	timeout time.Duration
	http    *http.Client
}

// New returns a client.
func New(c Config) (*Client, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: c.Timeout}).DialContext,
		TLSHandshakeTimeout: c.Timeout, IdleConnTimeout: c.Keepalive, MaxIdleConnsPerHost: 64, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: c.Unverified, MinVersion: tls.VersionTLS12},
	}
	if c.Proxy != "" {
		u, err := url.Parse(c.Proxy)
		if err != nil {
			return nil, errors.New("callout: the proxy's URL cannot be parsed")
		}
		t.Proxy = http.ProxyURL(u)
	}
	return &Client{max: c.MaxAnswer, timeout: c.Timeout, http: &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request and reads the whole answer.
func (c *Client) Do(ctx context.Context, r *http.Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		return nil, c.failure(r, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(c.max)+1))
	if err == nil && len(body) > c.max {
		err = errors.New("the answer is too large")
	}
	if err != nil {
		return nil, c.failure(r, err)
	}
	return &Answer{resp.StatusCode, resp.Header, body}, nil
}

// Stream sends a request and returns the answer with its body unread, which the caller
// closes. The time-out is until the answer's head has come.
func (c *Client) Stream(ctx context.Context, r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(c.timeout, cancel)
	resp, err := c.http.Do(r.WithContext(ctx))
	if !timer.Stop() || err != nil {
		cancel()
		if err == nil {
			resp.Body.Close()
			err = context.DeadlineExceeded
		}
		return nil, c.failure(r, err)
	}
	resp.Body = &stream{resp.Body, cancel}
	return resp, nil
}

// Plain returns a client of the same connections for libraries that call by themselves. Each
// of its calls has the time-out.
func (c *Client) Plain() *http.Client {
	plain := *c.http
	plain.Timeout = c.timeout
	return &plain
}

// stream gives its call up when it is closed.
type stream struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (s *stream) Close() error {
	defer s.cancel()
	return s.ReadCloser.Close()
}

func (c *Client) failure(r *http.Request, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL
	}
	return fmt.Errorf("request to %s failed: %w", r.URL.Host, err)
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Fields returns the lines of an answer that may be passed on.
func Fields(h http.Header) []gateway.Field {
	out := make([]gateway.Field, 0, len(h))
	for name, values := range h {
		switch strings.ToLower(name) {
		case "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length":
			continue
		}
		for _, v := range values {
			out = append(out, gateway.Field{Name: name, Value: v})
		}
	}
	return out
}
