package lua

import (
	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// headerOp is a change to the answer's head that was asked for before there was one.
type headerOp struct {
	kind   opKind
	name   string
	values []string
}

type opKind uint8

const (
	opSet opKind = iota
	opAdd
	opClear
)

func (o *headerOp) apply(h *gateway.Header) {
	if o.kind != opAdd {
		h.Del(o.name)
	}
	for _, v := range o.values {
		h.Add(o.name, v)
	}
}

// headerOp changes the answer's head, now and again once the upstream's has come.
func (s *state) headerOp(L *glua.LState, o headerOp) {
	x := s.exchange(L)
	o.apply(&x.Response.Header)
	if s.phase.beforeAnswer() {
		s.headers = append(s.headers, o)
	}
}

func (s *state) setAnswerHeader(L *glua.LState, name string, v glua.LValue) {
	o := headerOp{kind: opSet, name: name}
	eachValue(L, v, func(value string) { o.values = append(o.values, value) })
	s.headerOp(L, o)
}

// answerHeader returns the values of a header of the answer: nil, a string or a list.
func (s *state) answerHeader(name string) glua.LValue {
	if s.x == nil {
		return glua.LNil
	}
	switch s.x.Response.Header.Count(name) {
	case 0:
		return glua.LNil
	case 1:
		return own(s.x.Response.Header.Get(name))
	}
	list := s.L.NewTable()
	for _, f := range s.x.Response.Header.Fields() {
		if gateway.EqualFold(f.Name, name) {
			list.Append(own(f.Value))
		}
	}
	return list
}

// kongResponse makes kong.response.
func (s *state) kongResponse() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{
		"get_status":  func(L *glua.LState) int { return s.pushNumber(L, float64(s.exchange(L).Response.Status)) },
		"get_header":  func(L *glua.LState) int { L.Push(first(s.answerHeader(headerName(L, 1)))); return 1 },
		"get_headers": func(L *glua.LState) int { L.Push(s.headerTable(&s.exchange(L).Response.Header, "")); return 1 },
		"get_source": func(L *glua.LState) int {
			switch {
			case s.exchange(L).FromUpstream():
				return pushText(L, "service")
			case s.exited:
				return pushText(L, "exit")
			}
			return pushText(L, "error")
		},
		"set_status": func(L *glua.LState) int {
			status := L.CheckInt(1)
			if status < 100 || status > 599 {
				L.RaiseError("code must be a number between 100 and 599")
			}
			s.exchange(L).Response.Status = status
			return 0
		},
		"set_header":   func(L *glua.LState) int { s.setAnswerHeader(L, L.CheckString(1), L.Get(2)); return 0 },
		"clear_header": func(L *glua.LState) int { s.headerOp(L, headerOp{kind: opClear, name: L.CheckString(1)}); return 0 },
		"add_header": func(L *glua.LState) int {
			o := headerOp{kind: opAdd, name: L.CheckString(1)}
			eachValue(L, L.Get(2), func(v string) { o.values = append(o.values, v) })
			s.headerOp(L, o)
			return 0
		},
		"set_headers": func(L *glua.LState) int { s.setAnswerHeaders(L, L.Get(1)); return 0 },
		"exit":        s.exitWith,
		"error":       s.errorWith,
		"get_raw_body": func(L *glua.LState) int {
			s.exchange(L)
			if s.phase != BodyFilter {
				return pushText(L, string(s.x.Response.Body))
			}
			return s.collect(L)
		},
		"set_raw_body": func(L *glua.LState) int {
			x, body := s.exchange(L), L.CheckString(1)
			switch s.phase {
			case BodyFilter:
				s.arg = glua.LString(body)
			case Response:
				x.Response.Body = []byte(body)
			default:
				L.RaiseError("function cannot be called in %s phase (only in: body_filter)", string(s.phase))
			}
			return 0
		},
	}))
}

func (s *state) setAnswerHeaders(L *glua.LState, v glua.LValue) {
	if t, ok := v.(*glua.LTable); ok {
		t.ForEach(func(k, v glua.LValue) { s.setAnswerHeader(L, glua.LVAsString(k), v) })
	}
}

// mayAnswer returns the exchange where the phase may answer, and the status wanted.
func (s *state) mayAnswer(L *glua.LState) (x *gateway.Exchange, status int) {
	x, status = s.exchange(L), L.CheckInt(1)
	if !s.phase.answers() {
		L.RaiseError("function cannot be called in %s phase (only in: rewrite, access, response)", string(s.phase))
	}
	if status < 100 || status > 599 {
		L.RaiseError("code must be a number between 100 and 599")
	}
	return x, status
}

// exitWith is kong.response.exit.
func (s *state) exitWith(L *glua.LState) int {
	x, status := s.mayAnswer(L)
	var body []byte
	json := false
	switch v := L.Get(2).(type) {
	case *glua.LNilType:
	case *glua.LTable:
		var err error
		if body, err = s.encode(nil, v, 0); err != nil {
			L.RaiseError("%s", err.Error())
		}
		json = true
	default:
		given, ok := text(v)
		if !ok {
			L.RaiseError("body must be a nil, string, number or table")
		}
		body = []byte(given)
	}
	x.Respond(status, body)
	if json {
		x.Response.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	s.setAnswerHeaders(L, L.Get(3))
	s.exited = true
	return s.leave(L)
}

// errorMessages are what kong.response.error says where it is given no words.
var errorMessages = map[int]string{400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed", 408: "Request timeout",
	411: "Length required", 412: "Precondition failed", 413: "Payload too large", 414: "URI too long", 415: "Unsupported media type",
	417: "Expectation failed", 494: "Request header or cookie too large", 500: "An unexpected error occurred",
	502: "An invalid response was received from the upstream server", 503: "The upstream server is currently unavailable", 504: "The upstream server is timing out"}

// errorWith is kong.response.error: in the form the client accepts.
func (s *state) errorWith(L *glua.LState) int {
	x, status := s.mayAnswer(L)
	message, ok := text(L.Get(2))
	if !ok {
		if message = errorMessages[status]; message == "" {
			message = "The upstream server responded with " + glua.LNumber(status).String()
		}
	}
	x.Fail(status, message)
	s.setAnswerHeaders(L, L.Get(3))
	return s.leave(L)
}

// collect is get_raw_body in a body filter: chunks are held back up to the last, with which
// the whole body is returned.
func (s *state) collect(L *glua.LState) int {
	chunk, _ := text(s.arg)
	held := append(s.collected[s.unit], chunk...)
	s.bound(L, len(held))
	if !s.last {
		if s.collected == nil {
			s.collected = map[*Unit][]byte{}
		}
		s.collected[s.unit], s.arg = held, glua.LNil
		return 0
	}
	delete(s.collected, s.unit)
	s.arg = glua.LString(held)
	L.Push(s.arg)
	return 1
}
