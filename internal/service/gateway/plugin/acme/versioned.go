package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// register is what a server keeps of one key: a text, and its version.
type register interface {
	// read returns version 0 where a key was never written, and an empty text where it was
	// and is not there any more.
	read(ctx context.Context, key string) (text string, version uint64, err error)
	// write reports whether the version was still the given one; anyVersion is always right.
	write(ctx context.Context, key, text string, version uint64) (bool, error)
	erase(ctx context.Context, key string) error
	close()
}

const anyVersion = ^uint64(0)

// versioned is a storage on a server that knows versions, but no times that fit here: when
// a value ends is kept with it.
type versioned struct {
	register
	clock clock.Clock
}

// kept is a value as it is stored.
type kept struct {
	Value string `json:"value"`
	End   int64  `json:"end,omitempty"` // seconds since 1970; 0: never
}

// look returns the value under a key, if it has not ended, and the version in any case.
func (s versioned) look(ctx context.Context, key string) (value string, ok bool, version uint64, err error) {
	text, version, err := s.read(ctx, key)
	if err != nil || text == "" {
		return "", false, version, err
	}
	var k kept
	if json.Unmarshal([]byte(text), &k) != nil {
		return "", false, version, errors.New("the storage holds something else than was put there")
	}
	if k.End != 0 && s.clock.Now().Unix() >= k.End {
		return "", false, version, nil
	}
	return k.Value, true, version, nil
}

func (s versioned) get(ctx context.Context, key string) (string, bool, error) {
	value, ok, _, err := s.look(ctx, key)
	return value, ok, err
}

func (s versioned) put(ctx context.Context, key, value string, ttl time.Duration, version uint64) (bool, error) {
	k := kept{Value: value}
	if ttl > 0 {
		k.End = s.clock.Now().Add(ttl).Unix()
	}
	text, err := json.Marshal(k)
	if err != nil {
		return false, err
	}
	return s.write(ctx, key, string(text), version)
}

func (s versioned) set(ctx context.Context, key, value string, ttl time.Duration) error {
	_, err := s.put(ctx, key, value, ttl, anyVersion)
	return err
}

func (s versioned) add(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	_, there, version, err := s.look(ctx, key)
	if err != nil || there {
		return false, err
	}
	return s.put(ctx, key, value, ttl, version)
}

func (s versioned) remove(ctx context.Context, key string) error { return s.erase(ctx, key) }

// remote is a server with an API of HTTP and JSON.
type remote struct {
	name   string // for errors
	origin string
	client *http.Client
}

// maxKept bounds what is read of an answer.
const maxKept = 1 << 20

// newRemote returns the server of a configuration.
func newRemote(name string, c schema.Record, port int) remote {
	scheme, host := "http", cmp.Or(fields.String(c, "host"), "127.0.0.1")
	if fields.Bool(c, "https") {
		scheme = "https"
	}
	verify, told := c["tls_verify"].(bool)
	timeout := cmp.Or(fields.Duration(c, "timeout"), 2*time.Second)
	return remote{name, scheme + "://" + net.JoinHostPort(host, strconv.Itoa(cmp.Or(fields.Int(c, "port"), port))), &http.Client{Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it would take the token along
		Transport: &http.Transport{IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8, TLSClientConfig: &tls.Config{
			ServerName: fields.String(c, "tls_server_name"), InsecureSkipVerify: told && !verify, MinVersion: tls.VersionTLS12}}}}
}

func (r remote) close() { r.client.CloseIdleConnections() }

// call sends a request, with body as JSON unless it is bytes, and reads the answer's JSON
// into out where the status is of success. Its errors name the server, and no path or token.
func (r remote) call(ctx context.Context, method, path string, header http.Header, body, out any) (status int, err error) {
	raw, ok := body.([]byte)
	if !ok && body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	q, err := http.NewRequestWithContext(ctx, method, r.origin+path, bytes.NewReader(raw))
	if err != nil {
		return 0, errors.New(r.name + ": the request cannot be made")
	}
	q.Header = header
	res, err := r.client.Do(q)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return 0, fmt.Errorf("%s: %w", r.name, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxKept))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", r.name, err)
	}
	if out != nil && len(answer) > 0 && (res.StatusCode < 300 || res.StatusCode == 404) {
		if err := json.Unmarshal(answer, out); err != nil && res.StatusCode != 404 {
			return 0, errors.New(r.name + ": the answer is not what its API has")
		}
	}
	return res.StatusCode, nil
}

// refused is the error for a status that is none of those its caller knows.
func (r remote) refused(status int) error {
	return fmt.Errorf("%s answered with status %d", r.name, status)
}

// folder returns a configured path between slashes, escaped.
func folder(c schema.Record, name, or string) string {
	var parts []string
	for p := range strings.SplitSeq(strings.Trim(cmp.Or(fields.String(c, name), or), "/"), "/") {
		parts = append(parts, url.PathEscape(p))
	}
	return "/" + strings.Join(parts, "/") + "/"
}
