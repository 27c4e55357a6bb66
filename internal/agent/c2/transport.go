package c2

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/fault"
)

// Faults of the connection to servers.
var (
	Refused     = &fault.Reason{Kind: fault.Denied, Name: "RefusedByServer"}
	Unreachable = &fault.Reason{Kind: fault.Unavailable, Name: "ServerUnreachable"}
	Garbage     = &fault.Reason{Kind: fault.Invalid, Name: "AnswerNotUnderstood"}
)

// Bounds of what a server sends.
const (
	maxAnswer     = 4 << 20
	maxOperations = 100
	maxAsset      = 1 << 30
	callTimeout   = 30 * time.Second
	fetchTimeout  = 30 * time.Minute // of an asset
)

// transport calls the servers, any of which serves.
type transport struct {
	bases  []string
	at     atomic.Int64 // of bases: the one that answered last
	client func() *http.Client
}

func newTransport(urls []string, client func() *http.Client) (*transport, error) {
	t := &transport{client: client}
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.User != nil {
			return nil, fmt.Errorf("%q is not a URL of a server", u)
		}
		t.bases = append(t.bases, strings.TrimRight(u, "/"))
	}
	if len(t.bases) == 0 {
		return nil, errors.New("no server is given")
	}
	return t, nil
}

// post sends a JSON body to a path at the first server that takes it.
func (t *transport) post(ctx context.Context, path string, body []byte, compress bool) ([]byte, error) {
	if compress {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // to memory
		_ = z.Close()
		body = b.Bytes()
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if compress {
		header.Set("Content-Encoding", "gzip")
	}
	var out []byte
	err := t.each(ctx, func(ctx context.Context, base string) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header = header.Clone()
		out, err = t.read(req)
		return err
	})
	return out, err
}

func (t *transport) read(req *http.Request) ([]byte, error) {
	resp, err := t.client().Do(req)
	if err != nil {
		return nil, Unreachable.Wrap(err, "%s does not answer", req.URL.Host)
	}
	defer resp.Body.Close()
	if err := status(resp); err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, Unreachable.Wrap(err, "the answer of %s breaks off", req.URL.Host)
	}
	if len(out) > maxAnswer {
		return nil, Garbage.New("the answer of %s is longer than %d bytes", req.URL.Host, maxAnswer)
	}
	return out, nil
}

// status makes an error of an answer that is none of success. What may pass is Unreachable.
func status(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 5, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusUnauthorized, code == http.StatusForbidden:
		return Unreachable.New("%s answers %s", resp.Request.URL.Host, resp.Status)
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // what there is of it
		return Refused.New("%s answers %s: %s", resp.Request.URL.Host, resp.Status, strings.Join(strings.Fields(string(text)), " "))
	}
}

// each tries the servers, the one that answered last first, until one does not fail in a way
// that another might not.
func (t *transport) each(ctx context.Context, call func(ctx context.Context, base string) error) error {
	var failed error
	at := t.at.Load()
	for i := range t.bases {
		n := (int(at) + i) % len(t.bases)
		err := call(ctx, t.bases[n])
		if err == nil || !Unreachable.Is(err) && !Garbage.Is(err) {
			t.at.Store(int64(n))
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = err
	}
	return failed
}

// resolve is where a URL leads that a server has sent: a relative one to each server, an
// absolute one as it is.
func resolve(base, relative, absolute string) (string, error) {
	if relative != "" && !strings.Contains(relative, "://") {
		return base + "/" + strings.TrimLeft(relative, "/"), nil
	}
	if absolute == "" {
		absolute = relative
	}
	if strings.HasPrefix(absolute, "/") {
		return base + absolute, nil
	}
	u, err := url.Parse(absolute)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", Garbage.New("the operation has no usable URL")
	}
	return absolute, nil
}

// fetch reads what a URL of an operation leads to, at most most bytes.
func (t *transport) fetch(ctx context.Context, relative, absolute string, most int64, timeout time.Duration, take func(io.Reader) error) error {
	return t.each(ctx, func(ctx context.Context, base string) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		to, err := resolve(base, relative, absolute)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
		if err != nil {
			return Garbage.Wrap(err, "the operation has no usable URL")
		}
		resp, err := t.client().Do(req)
		if err != nil {
			return Unreachable.Wrap(err, "%s does not answer", req.URL.Host)
		}
		defer resp.Body.Close()
		if err := status(resp); err != nil {
			return err
		}
		return take(&bounded{r: resp.Body, left: most, host: req.URL.Host})
	})
}

// bounded fails where more than left bytes come, which io.LimitReader would hide.
type bounded struct {
	r    io.Reader
	left int64
	host string
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, Garbage.New("what %s sends is too long", b.host)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = Unreachable.Wrap(err, "the answer of %s breaks off", b.host)
	}
	return n, err
}
