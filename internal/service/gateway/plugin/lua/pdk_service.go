package lua

import (
	"bytes"
	"mime/multipart"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// forwarded returns the exchange while it can be changed where it goes.
func (s *state) forwarded(L *glua.LState) *gateway.Exchange {
	x := s.exchange(L)
	if !s.phase.beforeAnswer() {
		L.RaiseError("function cannot be called in %s phase (only in: rewrite, access)", string(s.phase))
	}
	return x
}

// kongService makes kong.service.
func (s *state) kongService() glua.LValue {
	retarget := func(f func(L *glua.LState, u *gateway.Service)) glua.LGFunction {
		return func(L *glua.LState) int {
			s.forwarded(L).Upstream.Retarget(func(u *gateway.Service) { f(L, u) })
			L.Push(glua.LTrue)
			return 1
		}
	}
	t := s.functions(map[string]glua.LGFunction{
		"set_target": retarget(func(L *glua.LState, u *gateway.Service) {
			port := L.CheckInt(2)
			if port < 0 || port > 65535 {
				L.RaiseError("port must be an integer between 0 and 65535: given %d", port)
			}
			u.Host, u.Port = L.CheckString(1), port
		}),
		"set_upstream": func(L *glua.LState) int {
			x, name := s.forwarded(L), L.CheckString(1)
			if _, ok := s.unit.Env.Directory.ByUnique("upstreams", "name", name); !ok {
				L.Push(glua.LNil)
				L.Push(glua.LString("could not find an Upstream named '" + name + "'"))
				return 2
			}
			x.Upstream.Retarget(func(u *gateway.Service) { u.Host = name })
			L.Push(glua.LTrue)
			return 1
		},
		"set_retries": retarget(func(L *glua.LState, u *gateway.Service) {
			u.Retries = L.CheckInt(1)
			if u.Retries < 0 || u.Retries > 32767 {
				L.RaiseError("retries must be an integer between 0 and 32767: given %d", u.Retries)
			}
		}),
		"set_timeouts": retarget(func(L *glua.LState, u *gateway.Service) {
			for i, d := range []*time.Duration{&u.ConnectTimeout, &u.WriteTimeout, &u.ReadTimeout} {
				ms := L.CheckInt(i + 1)
				if ms < 1 || ms > 2147483646 {
					L.RaiseError("timeouts must be integers between 1 and 2147483646: given %d", ms)
				}
				*d = time.Duration(ms) * time.Millisecond
			}
		}),
	})
	for _, name := range []string{"set_tls_verify", "set_tls_verify_depth", "set_tls_verify_store", "set_tls_cert_key"} {
		t.RawSetString(name, s.L.NewFunction(func(L *glua.LState) int {
			L.RaiseError("kong.service.%s is not served: the service's own fields say how TLS is spoken to it", name)
			return 0
		}))
	}
	t.RawSetString("request", s.seal(s.functions(map[string]glua.LGFunction{
		"set_scheme": func(L *glua.LState) int {
			x, want := s.forwarded(L), L.CheckString(1)
			if u := x.Upstream.Service; u != nil && scheme(u) != want {
				if want != "http" && want != "grpc" {
					L.RaiseError("set_scheme: %s is not served where the service's protocol is %s", want, scheme(u))
				}
				x.Upstream.Retarget(func(u *gateway.Service) {
					u.Protocol, u.TLSConfig = gateway.HTTP, nil
					if want == "grpc" {
						u.Protocol = gateway.GRPC
					}
				})
			}
			return 0
		},
		"set_path": func(L *glua.LState) int {
			x, path := s.forwarded(L), L.CheckString(1)
			if !strings.HasPrefix(path, "/") {
				L.RaiseError("path must start with /")
			}
			x.Upstream.Path = path
			return 0
		},
		"set_method":    func(L *glua.LState) int { s.forwarded(L).Request.Method = method(L); return 0 },
		"set_raw_query": func(L *glua.LState) int { setQueryText(s.forwarded(L), L.CheckString(1)); return 0 },
		"set_query":     s.setQuery,
		"set_header":    s.setRequestHeader,
		"add_header":    s.addRequestHeader,
		"clear_header":  s.clearRequestHeader,
		"set_headers": func(L *glua.LState) int {
			x := s.forwarded(L)
			L.CheckTable(1).ForEach(func(k, v glua.LValue) { s.requestHeader(L, x, glua.LVAsString(k), v) })
			return 0
		},
		"set_raw_body":     s.setRawBody,
		"set_body":         s.setBody,
		"enable_buffering": func(L *glua.LState) int { s.forwarded(L).BufferResponse(); return 0 },
	})))
	t.RawSetString("response", s.seal(s.functions(map[string]glua.LGFunction{
		"get_status": func(L *glua.LState) int {
			if n := s.exchange(L).Times.UpstreamStatus; n != 0 {
				return s.pushNumber(L, float64(n))
			}
			if s.x.FromUpstream() {
				return s.pushNumber(L, float64(s.x.Response.Status))
			}
			return 0
		},
		"get_headers": func(L *glua.LState) int { L.Push(s.headerTable(&s.exchange(L).Response.Header, "")); return 1 },
		"get_header":  func(L *glua.LState) int { L.Push(first(s.answerHeader(headerName(L, 1)))); return 1 },
		"get_raw_body": func(L *glua.LState) int {
			return pushText(L, string(s.exchange(L).Response.Body))
		},
		"get_body": func(L *glua.LState) int {
			v, err := s.decode(s.exchange(L).Response.Body)
			if err != nil {
				return fail(L, err)
			}
			L.Push(v)
			return 1
		},
	})))
	return s.seal(t)
}

func method(L *glua.LState) string {
	m := L.CheckString(1)
	if !gateway.ValidName(m) {
		L.RaiseError("invalid method")
	}
	return strings.ToUpper(m)
}

func setQueryText(x *gateway.Exchange, query string) {
	x.Request.RawQuery, x.Request.HasQuery = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return -1
		}
		return r
	}, query), query != ""
}

func (s *state) setQuery(L *glua.LState) int {
	x := s.forwarded(L)
	if query, ok := L.Get(1).(glua.LString); ok {
		setQueryText(x, string(query))
		return 0
	}
	setQueryText(x, s.encodeArgs(L, L.CheckTable(1)))
	return 0
}

func (s *state) setRequestHeader(L *glua.LState) int {
	s.requestHeader(L, s.forwarded(L), L.CheckString(1), L.Get(2))
	return 0
}

func (s *state) requestHeader(L *glua.LState, x *gateway.Exchange, name string, v glua.LValue) {
	if gateway.EqualFold(name, "host") {
		if host, ok := text(first(v)); ok {
			x.Upstream.HostHeader = host
		}
		return
	}
	x.Request.Header.Del(name)
	eachValue(L, v, func(value string) { x.Request.Header.Add(name, value) })
}

func (s *state) addRequestHeader(L *glua.LState) int {
	x, name := s.forwarded(L), L.CheckString(1)
	if gateway.EqualFold(name, "host") {
		s.requestHeader(L, x, name, L.Get(2))
		return 0
	}
	eachValue(L, L.Get(2), func(value string) { x.Request.Header.Add(name, value) })
	return 0
}

func (s *state) clearRequestHeader(L *glua.LState) int {
	s.forwarded(L).Request.Header.Del(L.CheckString(1))
	return 0
}

// eachValue walks the values of a header: a string, number or boolean, or a list of them.
func eachValue(L *glua.LState, v glua.LValue, use func(string)) {
	if list, ok := v.(*glua.LTable); ok {
		for i := 1; i <= list.Len(); i++ {
			eachValue(L, list.RawGetInt(i), use)
		}
		return
	}
	value, ok := text(v)
	if !ok {
		L.RaiseError("invalid header value: expected string, number or boolean, got %s", v.Type().String())
	}
	use(value)
}

func (s *state) setRawBody(L *glua.LState) int {
	s.forwarded(L).SetBody([]byte(L.CheckString(1)))
	return 0
}

// setBody is kong.service.request.set_body: a table in the form its type asks for.
func (s *state) setBody(L *glua.LState) int {
	x, t := s.forwarded(L), L.CheckTable(1)
	kind := L.OptString(2, x.Request.Header.Get("Content-Type"))
	media, _, _ := strings.Cut(strings.ToLower(kind), ";")
	var body []byte
	switch media = strings.TrimSpace(media); media {
	case "application/json":
		var err error
		if body, err = s.encode(nil, t, 0); err != nil {
			return fail(L, err)
		}
		kind = media
	case "application/x-www-form-urlencoded":
		body, kind = []byte(s.encodeArgs(L, t)), media
	case "multipart/form-data":
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		t.ForEach(func(k, v glua.LValue) {
			if value, ok := text(v); ok {
				_ = w.WriteField(glua.LVAsString(k), value) // to a buffer
			}
		})
		_ = w.Close()
		body, kind = b.Bytes(), w.FormDataContentType()
	default:
		L.Push(glua.LNil)
		L.Push(glua.LString("unsupported content type " + kind))
		return 2
	}
	x.SetBody(body)
	x.Request.Header.Set("Content-Type", kind)
	L.Push(glua.LTrue)
	return 1
}
