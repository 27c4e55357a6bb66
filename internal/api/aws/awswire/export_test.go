package awswire

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// Codec opens a protocol's codec to the tests of the published vectors.
type Codec struct{ codec }

// CodecOf returns the codec of p.
func CodecOf(p Protocol) Codec { return Codec{codecs[p]} }

// Message is a message with its parts in the open.
type Message struct {
	Method, Path string
	Query        url.Values
	Header       http.Header
	Status       int
	Body         []byte
}

func (m Message) inside() *message {
	in := newMessage()
	in.method, in.path, in.body, in.status = m.Method, m.Path, m.Body, m.Status
	if m.Query != nil {
		in.query = m.Query
	}
	for k, v := range m.Header {
		in.header[k] = v
	}
	return in
}

func (m *message) outside() Message {
	body := m.body
	if m.stream != nil {
		body, _ = io.ReadAll(m.stream)
	}
	return Message{Method: m.method, Path: m.path, Query: m.query, Header: m.header, Status: m.status, Body: body}
}

// WriteRequest, ReadRequest, WriteAnswer and ReadAnswer run the codec; values are pointers to structs.
func (c Codec) WriteRequest(a *API, op *Op, in any) (Message, error) {
	m := newMessage()
	err := c.writeRequest(a, op, reflect.ValueOf(in).Elem(), m)
	return m.outside(), err
}

func (c Codec) ReadRequest(a *API, op *Op, msg Message, in any) error {
	m := msg.inside()
	switch c.codec.(type) {
	case restCodec:
		rt := newRestRoute(op, true)
		labels, ok, err := rt.labels(m.path)
		if err != nil || !ok {
			return failf(unknownOp, "no route for %s (%v)", m.path, err)
		}
		m.labels = labels
		if s := planOf(reflect.TypeOf(in).Elem()); s.payload >= 0 && s.fields[s.payload].shape.kind == upload {
			m.stream = NewBody(strings.NewReader(string(m.body)), int64(len(m.body)))
		}
	case queryCodec:
		form, err := parseForm(string(m.body))
		if err != nil {
			return err
		}
		m.query = form
	}
	return c.readRequest(a, op, m, reflect.ValueOf(in).Elem())
}

func (c Codec) WriteAnswer(a *API, op *Op, out any) (Message, error) {
	m := newMessage()
	m.requestID = "request-id"
	err := c.writeAnswer(a, op, reflect.ValueOf(out).Elem(), m)
	return m.outside(), err
}

func (c Codec) ReadAnswer(a *API, op *Op, msg Message, out any) error {
	m := msg.inside()
	if s := planOf(reflect.TypeOf(out).Elem()); s.payload >= 0 && s.fields[s.payload].shape.kind == download {
		m.stream = io.NopCloser(strings.NewReader(string(m.body)))
	}
	return c.readAnswer(a, op, m, reflect.ValueOf(out).Elem())
}

// Validate checks a value against its model.
func Validate(in any) error { return validate(reflect.ValueOf(in).Elem()) }

// ReadJSON reads a JSON body into a struct.
func ReadJSON(body []byte, v any) error {
	e := reflect.ValueOf(v).Elem()
	return readJSON(body, planOf(e.Type()), e)
}

// ParseXML reports whether body is a document that is accepted.
func ParseXML(body []byte) error {
	_, err := parseXML(body)
	return err
}

// BucketOf opens bucketOf.
func BucketOf(host string, domains ...string) string { return bucketOf(host, domains) }

// CanonicalPath opens canonicalPath.
func CanonicalPath(escaped string, s3 bool) string { return canonicalPath(escaped, s3) }

// ParseAuthorization opens authorizationOf and returns the scope and the signature it read.
func ParseAuthorization(h http.Header, q url.Values) (key, region, service string, err error) {
	a, err := authorizationOf(h, q)
	return a.scope.key, a.scope.region, a.scope.service, err
}

// ReadChunks removes unsigned aws-chunked framing.
func ReadChunks(r io.Reader, trailers ...string) ([]byte, error) {
	return io.ReadAll(newChunkReader(r, nil, len(trailers) > 0, trailers))
}

// Match names the operation that a REST request is for, and whether it is served.
func Match(svc Service, method, target string, h http.Header) (op string, labels map[string]string, served bool) {
	s := New(Config{Services: []Service{svc}, Log: slog.New(slog.DiscardHandler)}).(*server)
	u, err := url.Parse(target)
	if err != nil {
		return "", nil, false
	}
	rt, labels, err := s.bySigning[svc.API.Signing].match(method, u.EscapedPath(), u.Query(), h)
	if err != nil {
		return "", nil, false
	}
	return rt.op.Name, labels, rt.served
}

// ParseTime opens parseTime.
func ParseTime(s string) (time.Time, error) { return parseTime(s) }

// Stages names the pipeline.
func Stages() []string {
	var out []string
	for _, s := range pipeline {
		out = append(out, s.name)
	}
	return out
}

// VerifyRequest runs the pipeline as far as the signature, for a request to service.
func VerifyRequest(creds Credentials, now time.Time, service string, r *http.Request) error {
	protocols := []Protocol{JSON11}
	if service == "s3" {
		protocols = []Protocol{S3}
	}
	s := New(Config{Credentials: creds, Clock: fixed(now), Services: []Service{{API: &API{Name: service, Signing: service, Protocols: protocols}}}}).(*server)
	c := &call{server: s, r: r, ctx: r.Context(), m: newMessage()}
	if err := s.admit(c); err != nil {
		return err
	}
	c.front, c.protocol = s.bySigning[service], protocols[0]
	for _, stage := range []func(*call) error{s.authenticate, s.read, s.verify} {
		if err := stage(c); err != nil {
			return err
		}
	}
	return nil
}

type fixed time.Time

func (f fixed) Now() time.Time { return time.Time(f) }

// SignPayload signs r as S3 clients do: over the payload form its header names, or the hash of body.
func SignPayload(s Signer, r *http.Request, body []byte, t time.Time) {
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		payload = hexHash(body)
	}
	s.sign(r, payload, t)
}

// Verifier returns a check of signatures that keeps its cache between calls.
func Verifier(creds Credentials, now time.Time, service string) func(*http.Request, []byte) error {
	v := &verifier{credentials: creds, now: func() time.Time { return now }}
	return func(r *http.Request, body []byte) error {
		a, err := authorizationOf(r.Header, nil)
		if err != nil {
			return err
		}
		credential, err := v.admit(r.Context(), a, service, false)
		if err != nil {
			return err
		}
		_, err = v.prove(a, credential, &canonical{
			method: r.Method, path: r.URL.EscapedPath(), header: r.Header, host: r.Host, signed: a.signed, payload: hexHash(body),
		})
		return err
	}
}
