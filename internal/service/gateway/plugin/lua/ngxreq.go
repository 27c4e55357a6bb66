package lua

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// ngxReq makes ngx.req.
func (s *state) ngxReq() *glua.LTable {
	return s.functions(map[string]glua.LGFunction{
		"get_headers": func(L *glua.LState) int {
			L.Push(s.headerTable(&s.exchange(L).Request.Header, s.x.Request.Authority))
			return 1
		},
		"set_header":     s.setRequestHeader,
		"clear_header":   s.clearRequestHeader,
		"get_method":     func(L *glua.LState) int { L.Push(own(s.exchange(L).Request.Method)); return 1 },
		"get_uri_args":   func(L *glua.LState) int { L.Push(s.args(s.exchange(L).Request.RawQuery, L.OptInt(1, 100))); return 1 },
		"set_uri_args":   s.setQuery,
		"set_uri":        func(L *glua.LState) int { s.forwarded(L).Upstream.Path = L.CheckString(1); return 0 },
		"read_body":      func(*glua.LState) int { return 0 },
		"discard_body":   func(*glua.LState) int { return 0 },
		"get_body_data":  s.rawBody,
		"get_body_file":  func(*glua.LState) int { return 0 },
		"set_body_data":  s.setRawBody,
		"get_post_args":  s.postArgs,
		"http_version":   s.httpVersion,
		"start_time":     func(L *glua.LState) int { return s.pushNumber(L, float64(s.exchange(L).Times.Start.UnixMilli())/1000) },
		"is_internal":    func(L *glua.LState) int { L.Push(glua.LFalse); return 1 },
		"get_query_args": func(L *glua.LState) int { L.Push(s.args(s.exchange(L).Request.RawQuery, L.OptInt(1, 100))); return 1 },
	})
}

func (s *state) postArgs(L *glua.LState) int {
	body, err := s.exchange(L).Body(s.engine.cfg.Body)
	if err != nil {
		return fail(L, err)
	}
	L.Push(s.args(string(body), L.OptInt(1, 100)))
	return 1
}

// args takes a query or a form apart: a string, true for an argument without a value, or a
// list where one comes more than once.
func (s *state) args(query string, most int) *glua.LTable {
	t := s.L.NewTable()
	n := 0
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		if n++; most > 0 && n > most {
			break
		}
		k, value, valued := strings.Cut(part, "=")
		if k = unescapeURI(k); k == "" {
			continue
		}
		v := glua.LValue(glua.LTrue)
		if valued {
			v = own(unescapeURI(value))
		}
		k = strings.Clone(k)
		switch old := t.RawGetString(k).(type) {
		case *glua.LNilType:
			t.RawSetString(k, v)
		case *glua.LTable:
			old.Append(v)
		default:
			list := s.L.NewTable()
			list.Append(old)
			list.Append(v)
			t.RawSetString(k, list)
		}
	}
	return t
}

// encodeArgs makes a query of a table, in order of the names.
func (s *state) encodeArgs(L *glua.LState, t *glua.LTable) string {
	values := map[string][]glua.LValue{}
	t.ForEach(func(k, v glua.LValue) {
		name, ok := text(k)
		if !ok {
			L.RaiseError("arg keys must be strings")
		}
		if list, isList := v.(*glua.LTable); isList {
			list.ForEach(func(_, e glua.LValue) { values[name] = append(values[name], e) })
			return
		}
		values[name] = []glua.LValue{v}
	})
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, v := range values[name] {
			if v == glua.LFalse {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(escapeURI(name))
			if v == glua.LTrue {
				continue
			}
			value, ok := text(v)
			if !ok {
				L.RaiseError("invalid value in arg \"%s\": expected a string, a number or a boolean", name)
			}
			b.WriteString("=" + escapeURI(value))
			s.bound(L, b.Len())
		}
	}
	return b.String()
}

// headerTable is a message's head: names in lower case, a list where one comes more than
// once. It is found by any case, and with underscores.
func (s *state) headerTable(h *gateway.Header, host string) *glua.LTable {
	fields := h.Fields()
	t := s.L.CreateTable(0, len(fields)+1)
	if host != "" {
		t.RawSetString("host", own(host))
	}
	for _, f := range fields {
		name := strings.Clone(strings.ToLower(f.Name))
		switch old := t.RawGetString(name).(type) {
		case *glua.LNilType:
			t.RawSetString(name, own(f.Value))
		case *glua.LTable:
			old.Append(own(f.Value))
		default:
			list := s.L.NewTable()
			list.Append(old)
			list.Append(own(f.Value))
			t.RawSetString(name, list)
		}
	}
	t.Metatable = s.headerMeta
	return t
}

func headerIndex(L *glua.LState) int {
	name, ok := L.Get(2).(glua.LString)
	if !ok {
		return 0
	}
	lower := strings.ReplaceAll(strings.ToLower(string(name)), "_", "-")
	if lower == string(name) {
		return 0
	}
	L.Push(L.CheckTable(1).RawGetString(lower))
	return 1
}

func headerName(L *glua.LState, n int) string {
	return strings.ReplaceAll(L.CheckString(n), "_", "-")
}

// getVariable is ngx.var.
func (s *state) getVariable(L *glua.LState) int {
	name := glua.LVAsString(L.Get(2))
	if s.x == nil && name == "ssl_server_name" {
		L.Push(orNil(s.serverName))
		return 1
	}
	if v := s.variable(L, name); v != glua.LNil {
		L.Push(v)
		return 1
	}
	return 0
}

func (s *state) variable(L *glua.LState, name string) glua.LValue {
	x := s.exchange(L)
	r := &x.Request
	if strings.HasPrefix(name, "ssl_") {
		return s.tlsVariable(x, name)
	}
	if rest, ok := strings.CutPrefix(name, "http_"); ok {
		if rest == "host" {
			return orNil(r.Authority)
		}
		return orNil(r.Header.Get(strings.ReplaceAll(rest, "_", "-")))
	}
	if rest, ok := strings.CutPrefix(name, "sent_http_"); ok {
		return orNil(x.Response.Header.Get(strings.ReplaceAll(rest, "_", "-")))
	}
	if rest, ok := strings.CutPrefix(name, "arg_"); ok {
		v, _ := gateway.QueryValue(r.RawQuery, rest)
		return orNil(v)
	}
	if rest, ok := strings.CutPrefix(name, "cookie_"); ok {
		v, _ := gateway.Cookie(&r.Header, rest)
		return orNil(v)
	}
	switch name {
	case "remote_addr", "realip_remote_addr", "binary_remote_addr":
		return orNil(x.ClientIP())
	case "remote_port", "realip_remote_port":
		return glua.LString(strconv.Itoa(int(x.Client().Port())))
	case "server_port":
		return glua.LString(strconv.Itoa(x.Conn.ServerPort))
	case "request_uri":
		return glua.LString(target(r))
	case "uri", "document_uri":
		return own(r.Path)
	case "args", "query_string":
		return orNil(r.RawQuery)
	case "is_args":
		if r.HasQuery {
			return glua.LString("?")
		}
		return glua.LString("")
	case "request_method":
		return own(r.Method)
	case "scheme":
		return own(r.Scheme)
	case "https":
		if r.Scheme == "https" {
			return glua.LString("on")
		}
		return glua.LString("")
	case "host", "server_name":
		return own(r.Host)
	case "hostname":
		return glua.LString(s.engine.hostname)
	case "request_id", "kong_request_id":
		return own(x.ID())
	case "content_type":
		return orNil(r.Header.Get("Content-Type"))
	case "content_length":
		return orNil(r.Header.Get("Content-Length"))
	case "server_protocol":
		return glua.LString("HTTP/" + version(r))
	case "request":
		return glua.LString(r.Method + " " + target(r) + " HTTP/" + version(r))
	case "request_length":
		return glua.LString(strconv.FormatInt(x.RequestSize(), 10))
	case "bytes_sent", "body_bytes_sent":
		return glua.LString(strconv.FormatInt(x.ResponseSize(), 10))
	case "status":
		return glua.LString(strconv.Itoa(x.Response.Status))
	case "pid":
		return glua.LNumber(0)
	case "msec":
		return glua.LString(strconv.FormatFloat(float64(s.now().UnixMilli())/1000, 'f', 3, 64))
	case "time_iso8601":
		return glua.LString(s.now().Format("2006-01-02T15:04:05-07:00"))
	case "time_local":
		return glua.LString(s.now().Format("02/Jan/2006:15:04:05 -0700"))
	case "request_time":
		return glua.LString(strconv.FormatFloat(s.now().Sub(x.Times.Start).Seconds(), 'f', 3, 64))
	case "upstream_status":
		if x.Times.UpstreamStatus == 0 {
			return glua.LNil
		}
		return glua.LString(strconv.Itoa(x.Times.UpstreamStatus))
	case "upstream_addr":
		if x.Upstream.Address.IsValid() {
			return glua.LString(x.Upstream.Address.String())
		}
	case "upstream_uri":
		return glua.LString(gateway.AppendTarget(nil, x.Upstream.Path, r.RawQuery, r.HasQuery))
	case "upstream_host":
		return orNil(x.Upstream.HostHeader)
	case "upstream_scheme":
		if u := x.Upstream.Service; u != nil {
			return glua.LString(scheme(u))
		}
	}
	return glua.LNil
}

func (s *state) setVariable(L *glua.LState) int {
	x := s.forwarded(L)
	switch name, v := glua.LVAsString(L.Get(2)), L.CheckString(3); name {
	case "upstream_uri":
		path, query, has := strings.Cut(v, "?")
		x.Upstream.Path = path
		if has {
			x.Request.RawQuery, x.Request.HasQuery = query, true
		}
	case "upstream_host":
		x.Upstream.HostHeader = v
	case "args":
		x.Request.RawQuery, x.Request.HasQuery = v, v != ""
	default:
		L.RaiseError("variable \"%s\" cannot be changed", name)
	}
	return 0
}

func target(r *gateway.Request) string {
	if r.HasQuery {
		return r.RawPath + "?" + r.RawQuery
	}
	return strings.Clone(r.RawPath)
}

func version(r *gateway.Request) string {
	if r.Proto == 2 {
		return "2.0"
	}
	return "1." + strconv.Itoa(r.Minor)
}

func scheme(u *gateway.Service) string {
	switch {
	case u.GRPC() && u.TLS():
		return "grpcs"
	case u.GRPC():
		return "grpc"
	case u.TLS():
		return "https"
	}
	return "http"
}
