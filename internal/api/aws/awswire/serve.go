package awswire

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/api/webserver"
	"sluice.dev/sluice/internal/base/caller"
)

// pipeline is the way of every request, in order. A stage that fails ends it: the error is
// answered in the words of the request's protocol. Behind it the answer is encoded and the call observed.
var pipeline = []struct {
	name string
	run  func(*server, *call) error
}{
	{"admit", (*server).admit},               // bounds of header and path
	{"route", (*server).route},               // which API, in which protocol
	{"pass", (*server).pass},                 // another node serves it
	{"authenticate", (*server).authenticate}, // the key exists, the time is right
	{"read", (*server).read},                 // the body, unless it streams
	{"verify", (*server).verify},             // the signature holds
	{"operation", (*server).operation},       // which operation, and is it served
	{"decode", (*server).decode},             // the request, against its model
	{"row", (*server).row},                   // it is known what to authorise
	{"invoke", (*server).invoke},             // the service does it
	{"proof", (*server).proof},               // it was authorised, and its body proved
}

// ServeHTTP serves one call.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	inviteEmpty(w, r)
	w, r, done := webserver.Paced(w, r, webserver.Streaming)
	defer done()
	c := &call{server: s, w: w, r: r, ctx: r.Context(), began: s.clock.Now(), id: newUUID(), m: newMessage()}
	defer func() { s.buffers.Release(c.held) }()
	var err error
	for _, stage := range pipeline {
		if err = stage.run(s, c); err != nil || c.passed {
			break
		}
	}
	if !c.passed {
		s.answer(c, err)
	}
}

func (s *server) admit(c *call) error {
	r := c.r
	c.protocol = RestJSON
	c.path = r.URL.EscapedPath()
	c.m.method, c.m.path, c.m.header = r.Method, c.path, r.Header
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	if s.hosts != nil && !s.hosts(r.Host) {
		return failf(foreignHost, "The Host header names no host of this node: use its address, or add the name to http.allowed_hosts.")
	}
	if n > maxHeaders || len(r.RequestURI) > maxURI {
		return failf(tooLarge, "The request has more than %d headers or a URI of more than %d bytes.", maxHeaders, maxURI)
	}
	var err error
	if c.m.query, err = parseForm(r.URL.RawQuery); err != nil {
		return err
	}
	c.auth, c.authErr = authorizationOf(r.Header, c.m.query) // route reads the scope
	return nil
}

// pass lets another node serve the call.
func (s *server) pass(c *call) error {
	if c.front == nil || c.front.Elsewhere == nil {
		return nil
	}
	if err := c.front.Elsewhere(c.w, c.r); err != nil {
		return err
	}
	c.passed = true
	return nil
}

func (s *server) authenticate(c *call) error {
	if c.authErr != nil {
		if f := (*fail)(nil); errors.As(c.authErr, &f) && f.what == noSignature && c.protocol == S3 {
			return failf(noSignature, "Access Denied")
		}
		return c.authErr
	}
	if c.front == nil {
		return failf(unknownOp, "No service named %s is served here.", clip(c.auth.scope.service))
	}
	var err error
	c.credential, err = s.verifier.admit(c.ctx, c.auth, c.front.API.Signing, c.protocol == S3)
	return err
}

// read reads the body of all protocols but S3, whose signature covers only what the client
// says of the body.
func (s *server) read(c *call) error {
	if c.protocol == S3 {
		if bucket := bucketOf(c.r.Host, s.domains); bucket != "" {
			c.path = "/" + uriEscape(bucket, false) + c.path
		}
		return nil
	}
	var err error
	if c.m.body, err = s.buffer(c, c.r.Body, c.r.ContentLength); err != nil {
		return err
	}
	if (c.protocol == Query || c.protocol == EC2) && isForm(c.r) {
		form, err := parseForm(string(c.m.body))
		if err != nil {
			return err
		}
		maps.Copy(c.m.query, form) // presigned calls have theirs in the URL
	}
	return nil
}

// buffer reads a body of n bytes, or of unknown length, into memory, of which all calls together
// hold a bounded amount.
func (s *server) buffer(c *call, body io.Reader, n int64) ([]byte, error) {
	limit := bodyLimit(c.front.API)
	if n > limit {
		return nil, failf(tooLarge, "The request is larger than the %d bytes that are accepted.", limit)
	}
	size := n
	if n < 0 {
		size = limit
	}
	size = min(size, s.capacity)
	if err := s.buffers.Acquire(c.ctx, size); err != nil {
		return nil, err
	}
	c.held += size
	webserver.SetRate(c.r.Body, webserver.Buffered)
	if n >= 0 {
		b := make([]byte, n)
		if read, err := io.ReadFull(body, b); err != nil {
			return nil, bodyError(err, read)
		}
		// A body that proves itself does so at its end.
		if _, err := body.Read(make([]byte, 1)); err != io.EOF {
			return nil, bodyError(err, len(b))
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, bodyError(err, len(b))
	case int64(len(b)) > limit:
		return nil, failf(tooLarge, "The request is larger than the %d bytes that are accepted.", limit)
	}
	return b, nil
}

// bodyError is the failure of reading a body that broke off.
func bodyError(err error, read int) error {
	if f := (*fail)(nil); errors.As(err, &f) {
		return f
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF || err == nil {
		return failf(short, "The request body ended after %d bytes, before its announced length.", read)
	}
	return &fail{what: short, message: "The request body could not be read.", cause: err}
}

func (s *server) verify(c *call) error {
	canonical := &canonical{
		method: c.r.Method, path: c.r.URL.EscapedPath(), header: c.r.Header, host: c.r.Host,
		length: c.r.ContentLength, s3: c.protocol == S3, signed: c.auth.signed,
	}
	// The parameters of the URL alone: a form has been added to those of the call.
	var err error
	if canonical.query, err = parseForm(c.r.URL.RawQuery); err != nil {
		return err
	}
	if c.protocol == S3 {
		if c.payload, err = payloadMode(c.r.Header, c.auth.presigned); err != nil {
			return err
		}
		canonical.payload = c.payload
	} else {
		canonical.payload = hexHash(c.m.body)
	}
	if c.key, err = s.verifier.prove(c.auth, c.credential, canonical); err != nil {
		c.credential = Credential{} // who only knows the name of a key did nothing with it
	}
	return err
}

func (s *server) decode(c *call) error {
	in := reflect.New(c.handler.in)
	c.in = in.Elem()
	if c.protocol == S3 {
		if err := s.content(c); err != nil {
			return err
		}
	}
	if err := codecs[c.protocol].readRequest(c.front.API, c.op, c.m, c.in); err != nil {
		return err
	}
	return validate(c.in)
}

// content opens the body of an S3 request and, unless the operation streams it, reads it.
func (s *server) content(c *call) error {
	plan := planOf(c.handler.in)
	streams := plan.payload >= 0 && plan.fields[plan.payload].shape.kind == upload
	body, err := c.openContent(streams || c.op.Checksum)
	if err != nil {
		return err
	}
	c.m.header = contentHeader(c.r, body.ContentLength)
	if streams {
		c.body, c.m.stream = body, body
		return nil
	}
	if c.m.body, err = s.buffer(c, body, body.ContentLength); err != nil {
		return err
	}
	if c.op.Checksum && len(body.Checksums()) == 0 && c.r.Header.Get("Content-MD5") == "" {
		return failf(missingSum, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return nil
}

func (s *server) row(c *call) error {
	if c.front.Resources[c.name] == nil {
		return failf(unservedAccess, "The operation %s is not set up for authorisation.", c.name)
	}
	return nil
}

func (s *server) invoke(c *call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fail{what: broken, message: "We encountered an internal error. Please try again.",
				cause: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	ctx := caller.With(context.WithValue(c.ctx, urlKey{}, c.url()), c.credential.Identity)
	ctx = caller.WithRequest(ctx, caller.Request{ID: c.id, Region: c.auth.scope.region, SourceIP: sourceIP(c.r)})
	ctx, c.ledger = caller.WithLedger(ctx)
	c.out, err = c.handler.call(ctx, c.in.Addr().Interface())
	return err
}

// proof refuses to answer for a service that did not ask the authoriser, or that took a body
// for good before it was proved.
func (s *server) proof(c *call) error {
	for _, action := range c.front.Resources[c.name] {
		if !c.ledger.Has(action) {
			return &fail{what: unservedAccess, message: "We encountered an internal error. Please try again.",
				cause: fmt.Errorf("%s %s was served without authorising %s", c.front.API.Name, c.name, action)}
		}
	}
	if c.body != nil && !c.body.Verified() {
		return &fail{what: broken, message: "We encountered an internal error. Please try again.",
			cause: fmt.Errorf("%s %s succeeded without reading its body to the end", c.front.API.Name, c.name)}
	}
	return nil
}

// answer encodes the outcome, sends it, and tells the observer.
func (s *server) answer(c *call, err error) {
	m := newMessage()
	m.requestID, m.resource = c.id, c.r.URL.Path
	if err == nil {
		err = codecs[c.protocol].writeAnswer(c.front.API, c.op, reflect.ValueOf(c.out).Elem(), m)
	}
	var e *Error
	if err != nil {
		closeStream(c.out)
		m = newMessage()
		m.requestID, m.resource = c.id, c.r.URL.Path
		e = s.errorMessage(c, err, m)
	}
	if c.protocol == S3 {
		m.header.Set("X-Amz-Request-Id", c.id)
		m.header.Set("X-Amz-Id-2", hostID(c.id))
		if m.status == http.StatusOK && m.header.Get("Content-Range") != "" {
			m.status = http.StatusPartialContent // the model does not say so
		}
	} else {
		m.header.Set("X-Amzn-Requestid", c.id)
	}
	m.header.Set("Date", s.clock.Now().UTC().Format(httpLayout)) // clients set their clocks by it
	broke := s.send(c, m)
	s.report(c, m.status, e, err, broke)
	if broke != nil {
		panic(http.ErrAbortHandler) // the only way to tell the client that the stream is not whole
	}
}

// errorMessage words err for the client.
func (s *server) errorMessage(c *call, err error, m *message) *Error {
	var api *API
	var svc *Service
	if c.front != nil {
		api, svc = c.front.API, &c.front.Service
	}
	e := wireError(c.protocol, svc, err)
	if c.protocol == S3 && len(e.Elements) == 0 {
		e.Elements = c.elements(e.Code)
	}
	m.status = e.Status
	for k, v := range e.Header {
		m.header[http.CanonicalHeaderKey(k)] = v
	}
	codecs[c.protocol].writeError(api, e, m)
	if e.Status == http.StatusNotModified || c.r.Method == http.MethodHead {
		m.body = nil
		m.header.Del("Content-Type")
	}
	return e
}

// elements returns what the error document repeats of the request.
func (c *call) elements(code string) [][2]string {
	if c.front == nil || !c.in.IsValid() {
		return nil
	}
	x, ok := c.front.Elements[code]
	if !ok {
		return nil
	}
	v, ok := present(c.in.FieldByName(x.Member))
	if !ok || v.Kind() != reflect.String {
		return nil
	}
	return [][2]string{{x.Name, v.String()}}
}

// send writes the answer; an error says that a stream broke off.
func (s *server) send(c *call, m *message) error {
	h := c.w.Header()
	for k, v := range m.header {
		h[k] = v
	}
	if m.stream == nil {
		if h.Get("Content-Length") == "" && c.r.Method != http.MethodHead && m.status != http.StatusNoContent && m.status != http.StatusNotModified {
			h.Set("Content-Length", strconv.Itoa(len(m.body)))
		}
		c.w.WriteHeader(m.status)
		n, _ := c.w.Write(m.body) // a client that went away gets no answer
		c.sent = int64(n)
		return nil
	}
	if closer, ok := m.stream.(io.Closer); ok {
		defer closer.Close()
	}
	c.w.WriteHeader(m.status)
	var err error
	c.sent, err = io.Copy(c.w, m.stream)
	return err
}

// closeStream closes the stream of an output that will not be sent.
func closeStream(out any) {
	if out == nil {
		return
	}
	v := reflect.ValueOf(out).Elem()
	plan := planOf(v.Type())
	if plan.payload < 0 {
		return
	}
	if body, ok := v.Field(plan.fields[plan.payload].index).Interface().(io.Closer); ok {
		_ = body.Close() // it was read from, nothing can be lost
	}
}

// report logs the call and tells the observer.
func (s *server) report(c *call, status int, e *Error, err, broke error) {
	done := Call{
		RequestID: c.id, Operation: c.name, Identity: c.credential.Identity, Region: c.auth.scope.region,
		SourceIP: sourceIP(c.r), UserAgent: c.r.UserAgent(), Began: c.began, Duration: s.clock.Now().Sub(c.began),
		Status: status, In: max(c.r.ContentLength, 0), Out: c.sent, Err: errors.Join(err, broke),
	}
	if c.front != nil {
		done.Service = c.front.API.Name
	}
	log := s.log.With("service", done.Service, "operation", done.Operation, "request", done.RequestID, "status", status)
	switch {
	case e != nil && e.Status >= 500:
		log.Error("call failed", "error", err)
	case broke != nil:
		log.Warn("answer broke off", "error", broke)
	default:
		log.Debug("call")
	}
	if e != nil {
		done.Code = e.Code
	}
	if s.observe != nil {
		s.observe(done)
	}
}

// hostID derives S3's second id from the first.
func hostID(requestID string) string {
	sum := sha256.Sum256([]byte(strings.ToUpper(requestID)))
	return base64.StdEncoding.EncodeToString(sum[:])
}
