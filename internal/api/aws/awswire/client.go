package awswire

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/clock"
)

// maxAnswer bounds an answer that is not a stream.
const maxAnswer = 64 << 20

// Client calls AWS APIs at one endpoint. The typed clients that awsgen writes wrap it. It does not retry.
type Client struct {
	Endpoint     string // http://127.0.0.1:4566
	Region       string
	AccessKeyID  string
	Secret       string
	SessionToken string       // of temporary keys
	HTTP         *http.Client // default http.DefaultClient
	Clock        clock.Clock  // default the machine's
}

// Invoke calls one operation. A refusal by the service is an *Error. Where the answer
// streams, the caller closes its body.
func Invoke[O, I any](ctx context.Context, c *Client, a *API, name string, in *I) (*O, error) {
	out := new(O)
	if in == nil {
		in = new(I)
	}
	if err := c.call(ctx, a, name, reflect.ValueOf(in).Elem(), reflect.ValueOf(out).Elem()); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) call(ctx context.Context, a *API, name string, in, out reflect.Value) error {
	op := a.op(name)
	if op == nil {
		return fmt.Errorf("awswire: %s has no operation %s", a.Name, name)
	}
	in = withToken(in)
	codec := codecs[a.Protocols[0]]
	m := newMessage()
	if err := codec.writeRequest(a, op, in, m); err != nil {
		return fmt.Errorf("%s %s: %w", a.Name, name, err)
	}
	req, err := c.request(ctx, a, op, m)
	if err != nil {
		return fmt.Errorf("%s %s: %w", a.Name, name, err)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", a.Name, name, err)
	}
	return receive(a, op, codec, resp, out)
}

// request turns a message into a signed request.
func (c *Client) request(ctx context.Context, a *API, op *Op, m *message) (*http.Request, error) {
	target, err := url.Parse(strings.TrimSuffix(c.Endpoint, "/") + m.path)
	if err != nil {
		return nil, err
	}
	target.RawQuery = m.query.Encode()
	req, err := http.NewRequestWithContext(ctx, m.method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = m.header
	now := time.Now()
	if c.Clock != nil {
		now = c.Clock.Now()
	}
	s := Signer{AccessKeyID: c.AccessKeyID, Secret: c.Secret, SessionToken: c.SessionToken, Region: c.Region, Service: a.Signing}
	if m.stream != nil {
		return req, s.signStream(req, m.stream.(*Body), now)
	}
	if op.Checksum {
		req.Header.Set("X-Amz-Checksum-Crc64nvme", digestOf("CRC64NVME", m.body))
	}
	req.ContentLength = int64(len(m.body))
	req.Body = io.NopCloser(bytes.NewReader(m.body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.body)), nil }
	if len(m.body) == 0 {
		req.Body, req.GetBody = http.NoBody, nil
	}
	s.Sign(req, m.body, now)
	return req, nil
}

// signStream signs a request whose body is read only once, chunk by chunk.
func (s Signer) signStream(req *http.Request, b *Body, t time.Time) error {
	if b.ContentLength < 0 {
		return failf(noLength, "the body does not say its length")
	}
	req.ContentLength = framedLength(b.ContentLength)
	req.Header.Set("Content-Encoding", "aws-chunked")
	req.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(b.ContentLength))
	req.Header.Del("Content-Length")
	key, seed := s.sign(req, signedChunks, t)
	req.Body = io.NopCloser(newChunkWriter(b, key, t, s.scope(t), seed))
	return nil
}

func receive(a *API, op *Op, codec codec, resp *http.Response, out reflect.Value) error {
	m := &message{status: resp.StatusCode, header: resp.Header, requestID: requestIDOf(resp.Header)}
	if resp.ContentLength >= 0 && m.header.Get("Content-Length") == "" {
		m.header.Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	good := resp.StatusCode/100 == 2
	if s := planOf(out.Type()); good && s.payload >= 0 && s.fields[s.payload].shape.kind == download {
		m.stream = resp.Body
		return codec.readAnswer(a, op, m, out)
	}
	defer resp.Body.Close()
	var err error
	if m.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", a.Name, op.Name, err)
	}
	if !good {
		e := codec.readError(m)
		e.Code = orElse(e.Code, strings.ReplaceAll(http.StatusText(m.status), " ", ""))
		return e
	}
	if err := codec.readAnswer(a, op, m, out); err != nil {
		return fmt.Errorf("%s %s: the answer cannot be read: %w", a.Name, op.Name, err)
	}
	return nil
}

func requestIDOf(h http.Header) string {
	return orElse(h.Get("X-Amzn-Requestid"), h.Get("X-Amz-Request-Id"))
}

// withToken returns in with its idempotency token filled, where it has one and none is set: a
// token of the caller's survives his retries, ours only makes the request valid.
func withToken(in reflect.Value) reflect.Value {
	s := planOf(in.Type())
	for i := range s.fields {
		f := &s.fields[i]
		if !f.idem || !in.Field(f.index).IsNil() {
			continue
		}
		filled := reflect.New(in.Type()).Elem()
		filled.Set(in)
		token := newUUID()
		filled.Field(f.index).Set(reflect.ValueOf(&token))
		return filled
	}
	return in
}

// newUUID returns a random UUID, the form of request ids and idempotency tokens.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
