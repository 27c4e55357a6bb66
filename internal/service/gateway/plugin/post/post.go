package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Config says where bodies go and how.
type Config struct {
	URL         string
	Method      string // POST where empty
	ContentType string
	Header      map[string]string
	Connect     time.Duration // to connect; 0: Timeout
	Timeout     time.Duration // for a whole request; 0: none
	Keepalive   time.Duration // how long an idle connection is kept; 0: as long as the server keeps it
	Unverified  bool          // the server's certificate is not verified
}

// Endpoint is a server that takes bodies.
type Endpoint struct {
	c    Config
	host string
	http *http.Client
}

// New returns the endpoint; it connects when it is first used.
func New(c Config) (*Endpoint, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("post: the URL cannot be parsed")
	}
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	if c.Connect == 0 {
		c.Connect = c.Timeout
	}
	dialer := &net.Dialer{Timeout: c.Connect}
	return &Endpoint{c: c, host: u.Host, http: &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: c.Connect, IdleConnTimeout: c.Keepalive,
			MaxIdleConnsPerHost: 8, MaxConnsPerHost: 64,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: c.Unverified, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// maxAnswer is how much of an answer is read to keep its connection.
const maxAnswer = 64 << 10

// Send sends a body. Any status but 2xx is an error.
func (e *Endpoint) Send(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, e.c.Method, e.c.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("post: the request cannot be made")
	}
	for name, value := range e.c.Header {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", e.c.ContentType)
	resp, err := e.http.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return fmt.Errorf("request to %s failed: %w", e.host, err)
	}
	defer resp.Body.Close()
	_, err = io.CopyN(io.Discard, resp.Body, maxAnswer)
	switch {
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		return fmt.Errorf("request to %s returned status %d", e.host, resp.StatusCode)
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("request to %s: reading the answer: %w", e.host, err)
	}
	return nil
}

// Close closes the idle connections.
func (e *Endpoint) Close() { e.http.CloseIdleConnections() }
