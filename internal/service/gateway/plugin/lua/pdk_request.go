package lua

import (
	"bytes"
	"cmp"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// kongRequest makes kong.request.
func (s *state) kongRequest() glua.LValue {
	str := func(get func(x *gateway.Exchange) string) glua.LGFunction {
		return func(L *glua.LState) int { L.Push(own(get(s.exchange(L)))); return 1 }
	}
	path := func(x *gateway.Exchange) string { return x.Request.Path }
	return s.seal(s.functions(map[string]glua.LGFunction{
		"get_scheme": str(func(x *gateway.Exchange) string { return x.Request.Scheme }),
		"get_host":   str(func(x *gateway.Exchange) string { return x.Request.Host }),
		// What a trusted peer tells goes before what is seen here.
		"get_forwarded_scheme": str(func(x *gateway.Exchange) string { return strings.ToLower(x.ForwardedProto()) }),
		"get_forwarded_host": str(func(x *gateway.Exchange) string {
			if host := x.Request.Forwarded.Host; host != "" {
				host, _ := forwardedHost(host)
				return host
			}
			return x.Request.Host
		}),
		"get_port":           func(L *glua.LState) int { return s.pushNumber(L, float64(s.exchange(L).Conn.ServerPort)) },
		"get_forwarded_port": func(L *glua.LState) int { return s.pushNumber(L, float64(forwardedPort(s.exchange(L)))) },
		"get_path":           str(path),
		"get_forwarded_path": str(func(x *gateway.Exchange) string { return cmp.Or(x.Request.Forwarded.Path, path(x)) }),
		"get_raw_path":       str(func(x *gateway.Exchange) string { return x.Request.RawPath }),
		"get_forwarded_prefix": func(L *glua.LState) int {
			if prefix := s.exchange(L).Request.Forwarded.Prefix; prefix != "" {
				L.Push(own(prefix))
				return 1
			}
			if x := s.exchange(L); x.Route() != nil && x.Route().StripPath {
				L.Push(orNil(x.Match().Prefix))
				return 1
			}
			return 0
		},
		"get_path_with_query": func(L *glua.LState) int { return pushText(L, target(&s.exchange(L).Request)) },
		"get_raw_query":       str(func(x *gateway.Exchange) string { return x.Request.RawQuery }),
		"get_method":          str(func(x *gateway.Exchange) string { return x.Request.Method }),
		"get_http_version":    s.httpVersion,
		"get_start_time":      func(L *glua.LState) int { return s.pushNumber(L, float64(s.exchange(L).Times.Start.UnixMilli())) },
		"get_query":           func(L *glua.LState) int { L.Push(s.args(s.exchange(L).Request.RawQuery, L.OptInt(1, 100))); return 1 },
		"get_query_arg": func(L *glua.LState) int {
			L.Push(first(s.args(s.exchange(L).Request.RawQuery, 0).RawGetString(L.CheckString(1))))
			return 1
		},
		"get_header": func(L *glua.LState) int {
			x, name := s.exchange(L), headerName(L, 1)
			if gateway.EqualFold(name, "host") {
				L.Push(orNil(x.Request.Authority))
				return 1
			}
			v, ok := x.Request.Header.Lookup(name)
			if !ok {
				return 0
			}
			L.Push(own(v))
			return 1
		},
		"get_headers": func(L *glua.LState) int {
			L.Push(s.headerTable(&s.exchange(L).Request.Header, s.x.Request.Authority))
			return 1
		},
		"get_raw_body":     s.rawBody,
		"get_body":         s.requestBody,
		"get_uri_captures": func(L *glua.LState) int { L.Push(s.uriCaptures(s.exchange(L))); return 1 },
	}))
}

// forwardedHost takes an X-Forwarded-Host apart: the host in lower case, and the port or 0.
func forwardedHost(v string) (host string, port int) {
	host = v[strings.LastIndexByte(v, '@')+1:]
	if h, p, err := net.SplitHostPort(host); err == nil {
		host = h
		port, _ = strconv.Atoi(p) // what is no number counts as none
	}
	return strings.ToLower(host), port
}

// forwardedPort is the port that the client used, as far as a trusted peer tells it.
func forwardedPort(x *gateway.Exchange) int {
	f := &x.Request.Forwarded
	if port, err := strconv.Atoi(f.Port); err == nil && port >= 0 && port <= 65535 {
		return port
	}
	if _, port := forwardedHost(f.Host); port > 0 && port <= 65535 {
		return port
	}
	return x.Request.Port
}

// first is a value, or the first of a list.
func first(v glua.LValue) glua.LValue {
	if t, ok := v.(*glua.LTable); ok {
		return t.RawGetInt(1)
	}
	return v
}

func (s *state) httpVersion(L *glua.LState) int {
	r := &s.exchange(L).Request
	if r.Proto == 2 {
		return s.pushNumber(L, 2)
	}
	return s.pushNumber(L, 1+float64(r.Minor)/10)
}

func (s *state) rawBody(L *glua.LState) int {
	if !s.phase.answers() && s.phase != Log && s.phase != HeaderFilter && s.phase != BodyFilter {
		L.RaiseError("no request body in the %s phase", string(s.phase))
	}
	x := s.exchange(L)
	if !s.phase.beforeAnswer() { // it has gone: only what was read then is left
		b, _ := x.Buffered()
		return pushText(L, string(b))
	}
	body, err := x.Body(s.engine.cfg.Body)
	if err != nil {
		return fail(L, err)
	}
	return pushText(L, string(body))
}

// requestBody is kong.request.get_body: the body taken apart, an error, and its type.
func (s *state) requestBody(L *glua.LState) int {
	x := s.exchange(L)
	kind := L.OptString(1, x.Request.Header.Get("Content-Type"))
	body, err := x.Body(s.engine.cfg.Body)
	if err != nil {
		return fail(L, err)
	}
	var v glua.LValue = glua.LNil
	media, params, _ := mime.ParseMediaType(kind) // what cannot be parsed is no type that is served
	switch {
	case media == "application/x-www-form-urlencoded":
		v = s.args(string(body), L.OptInt(2, 100))
	case strings.HasPrefix(media, "application/json"):
		if v, err = s.decode(body); err != nil {
			return s.bodyError(L, "invalid json body", "application/json")
		}
		if _, isTable := v.(*glua.LTable); !isTable {
			return s.bodyError(L, "invalid json body", "application/json")
		}
		media = "application/json"
	case media == "multipart/form-data":
		if v, err = s.parts(body, params["boundary"]); err != nil {
			return s.bodyError(L, err.Error(), media)
		}
	default:
		return s.bodyError(L, "unsupported content type '"+kind+"'", kind)
	}
	L.Push(v)
	L.Push(glua.LNil)
	L.Push(own(media))
	return 3
}

func (s *state) bodyError(L *glua.LState, message, kind string) int {
	L.Push(glua.LNil)
	L.Push(glua.LString(message))
	L.Push(own(kind))
	return 3
}

// maxParts bounds the parts of a form.
const maxParts = 1000

func (s *state) parts(body []byte, boundary string) (glua.LValue, error) {
	t := s.L.NewTable()
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxParts {
		part, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(part) // it lies within body
		if err != nil {
			return nil, err
		}
		if name := part.FormName(); name != "" {
			t.RawSetString(name, glua.LString(content))
		}
	}
	return t, nil
}

// uriCaptures are what the groups of the route's path stood for, by number and by name.
func (s *state) uriCaptures(x *gateway.Exchange) *glua.LTable {
	t := s.L.NewTable()
	unnamed, named := s.L.NewTable(), s.L.NewTable()
	names, values := x.Match().Captures(x.Request.Path)
	for i := 1; i < len(values); i++ {
		v := own(values[i])
		unnamed.RawSetInt(i, v)
		t.RawSetInt(i, v)
		if names[i] != "" {
			named.RawSetString(names[i], v)
			t.RawSetString(names[i], v)
		}
	}
	t.RawSetString("unnamed", unnamed)
	t.RawSetString("named", named)
	return t
}
