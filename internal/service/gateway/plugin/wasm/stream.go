package wasm

import (
	"bytes"
	"errors"
	"fmt"

	"sluice.dev/sluice/internal/service/gateway"
)

// phase is where in its exchange a stream is: what a filter may do depends on it.
type phase uint8

const (
	onRequestHeaders phase = iota
	onRequestBody
	onResponseHeaders
	onResponseBody
	onLog
	over // the exchange is not there any more
)

// stream is an exchange in the eyes of one filter.
type stream struct {
	filter  *filter
	machine *machine
	id      uint32 // 0 before the filter knows of it
	x       *gateway.Exchange
	phase   phase

	body    []byte         // in a body's phase: what the filter sees of it
	held    []byte         // of the answer's body, while the filter pauses
	changed bool           // the filter has set body
	resumed bool           // the filter has resumed what it pauses
	local   *localResponse // what the filter wants to be answered
	swapped []byte         // the body that goes in the place of an upstream's
	swap    bool
	cut     bool // nothing more of the body goes to the client
	done    bool
}

// localResponse is an answer that a filter gives.
type localResponse struct {
	status  int
	headers []gateway.Field
	body    []byte
}

// attempts is how many machines are tried for a request none of which has begun it.
const attempts = 3

const unexpected = "An unexpected error occurred"

var (
	errStuck = errors.New("the filter pauses the request, and nothing would resume it")
	errHeld  = errors.New("the filter holds back more of the body than it may")
)

// streamOf returns the stream of an exchange, nil where the filter has not seen it.
func (f *filter) streamOf(x *gateway.Exchange) *stream {
	s, _ := x.Value(f).(*stream)
	return s
}

func (s *stream) call(p phase, name string, args ...uint64) (uint64, error) {
	s.phase, s.resumed = p, false
	return s.machine.run(s, name, args...)
}

// tell logs why a filter failed.
func (s *stream) tell(err error) { s.filter.log.Error("a filter failed", "err", err) }

// Close implements io.Closer: the exchange is over.
func (s *stream) Close() error {
	s.finish(over)
	s.filter.release(s.machine)
	return nil
}

// finish tells the filter that the exchange has ended, once.
func (s *stream) finish(p phase) {
	if s.done {
		return
	}
	s.done = true
	if p == over {
		s.x = nil
	}
	if s.id == 0 {
		return
	}
	for _, name := range []string{"proxy_on_done", "proxy_on_log", "proxy_on_delete"} {
		if name == "proxy_on_log" && p == over {
			continue
		}
		if _, err := s.call(p, name); err != nil {
			if !errors.Is(err, errDead) { // it was told of when it died
				s.tell(err)
			}
			return
		}
	}
}

// The phases of a filter.
type (
	requestHeaders  struct{ f *filter }
	requestBody     struct{ f *filter }
	responseHeaders struct{ f *filter }
	responseBody    struct{ f *filter }
	finish          struct{ f *filter }
)

// Access implements gateway.Accessor.
func (p requestHeaders) Access(x *gateway.Exchange) {
	s := &stream{filter: p.f, x: x}
	bodyless := x.Request.Length == 0
	var action uint64
	err := errDead
	for try := 0; try < attempts && errors.Is(err, errDead); try++ { // of a machine that others' requests have ended
		if s.machine != nil {
			p.f.release(s.machine)
		}
		if s.machine, err = p.f.take(); err == nil {
			action, err = s.call(onRequestHeaders, "proxy_on_request_headers", uint64(s.header(requestMap).count()), flag(bodyless))
		}
	}
	if s.machine != nil {
		x.Put(p.f, s)
	}
	s.afterRequest(action, err, bodyless || !p.f.module.exports["proxy_on_request_body"])
}

// Access implements gateway.Accessor.
func (p requestBody) Access(x *gateway.Exchange) {
	s := p.f.streamOf(x)
	if s == nil || x.Request.Length == 0 {
		return
	}
	body, err := x.Body(p.f.engine.cfg.Body)
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		x.Fail(413, gateway.TooLargeMessage)
		return
	case err != nil:
		x.Fail(400, "Bad request")
		return
	}
	s.body, s.changed = body, false
	action, err := s.call(onRequestBody, "proxy_on_request_body", uint64(len(body)), 1)
	if s.changed && err == nil {
		x.SetBody(s.body)
	}
	s.body = nil
	s.afterRequest(action, err, true)
}

// afterRequest does what a filter asked for in a request's phase. last is whether the
// request would go on to the upstream now.
func (s *stream) afterRequest(action uint64, err error, last bool) {
	switch {
	case err == nil && s.local != nil:
		l := s.local
		s.local = nil
		s.x.Respond(l.status, l.body, l.headers...)
	case err == nil && last && action == actionPause && !s.resumed:
		err = errStuck
		fallthrough
	case err != nil:
		s.tell(err)
		s.x.Fail(500, unexpected)
	}
}

// HeaderFilter implements gateway.HeaderFilter.
func (p responseHeaders) HeaderFilter(x *gateway.Exchange) {
	s := p.f.streamOf(x)
	if s == nil {
		return
	}
	_, err := s.call(onResponseHeaders, "proxy_on_response_headers", uint64(s.header(responseMap).count()), flag(s.bodyless()))
	if err != nil {
		s.tell(err)
		s.local = &localResponse{status: 500, body: []byte(`{"message":"` + unexpected + `"}`),
			headers: []gateway.Field{{Name: "Content-Type", Value: "application/json; charset=utf-8"}}}
	}
	if s.local != nil {
		s.replace(s.local)
	}
	s.local = nil
}

// bodyless reports whether the answer has no body, whatever a filter says.
func (s *stream) bodyless() bool {
	status := s.x.Response.Status
	return s.x.Request.Method == "HEAD" || status == 204 || status == 304
}

// replace puts another answer into the place of the one on its way. The status of an answer
// that has no body stays: the client would wait for one.
func (s *stream) replace(l *localResponse) {
	r := &s.x.Response
	r.Header.Reset()
	if !s.bodyless() || s.x.Request.Method == "HEAD" {
		r.Status = l.status
	}
	for _, h := range l.headers {
		r.Header.Add(h.Name, h.Value)
	}
	s.swap, s.swapped = true, l.body
}

// BodyFilter implements gateway.BodyFilter.
func (p responseBody) BodyFilter(x *gateway.Exchange, chunk []byte, last bool) []byte {
	s := p.f.streamOf(x)
	switch {
	case s == nil:
		return chunk
	case s.cut:
		return nil
	case s.swap:
		s.cut = true
		return s.swapped
	case !p.f.module.exports["proxy_on_response_body"]:
		return chunk
	}
	s.body = chunk
	if len(s.held) > 0 {
		s.body = append(s.held, chunk...)
	}
	action, err := s.call(onResponseBody, "proxy_on_response_body", uint64(len(s.body)), flag(last))
	hold := action == actionPause && !s.resumed && !last
	if err == nil && hold && len(s.body) > p.f.engine.cfg.Body {
		err = errHeld
	}
	out := s.body
	s.body = nil
	switch {
	case err != nil:
		s.tell(fmt.Errorf("%w; the answer ends here", err))
		s.cut = true
		return nil
	case hold:
		s.held = bytes.Clone(out)
		return nil
	}
	s.held = nil
	return out
}

// Log implements gateway.Logger.
func (p finish) Log(x *gateway.Exchange) {
	if s := p.f.streamOf(x); s != nil {
		s.finish(onLog)
	}
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
