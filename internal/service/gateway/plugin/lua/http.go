package lua

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
)

// Bounds of resty.http: how long one request may take, where code says nothing and at most,
// and how long all of a call's together may keep it waiting.
const (
	usualTimeout = 10 * time.Second
	maxTimeout   = 60 * time.Second
)

var errNoURI = errors.New("bad uri: it has no scheme of HTTP, or no host")

// callClients are for outbound requests: with servers' certificates verified, and without.
func callClients(most int) (clients [2]*callout.Client) {
	for i := range clients {
		// Without a proxy there is nothing that New could refuse.
		clients[i], _ = callout.New(callout.Config{Timeout: maxTimeout, Keepalive: maxTimeout, Unverified: i == 1, MaxAnswer: most})
	}
	return clients
}

// httpModule is resty.http, of which there is request_uri. Only plugins have it: the
// sandbox reaches no network.
func (s *state) httpModule() glua.LValue {
	if s.http != nil {
		return s.http
	}
	done := func(L *glua.LState) int { L.Push(glua.LNumber(1)); return 1 }
	millis := func(L *glua.LState, n int) time.Duration {
		return min(time.Duration(float64(L.CheckNumber(n))*float64(time.Millisecond)), maxTimeout)
	}
	set := func(L *glua.LState, d time.Duration) {
		ud := L.NewUserData()
		ud.Value = d
		L.CheckTable(1).RawSetString("timeout", ud)
	}
	methods := s.seal(s.functions(map[string]glua.LGFunction{
		"request_uri": s.requestURI,
		"parse_uri":   s.parseURI,
		"set_timeout": func(L *glua.LState) int { set(L, millis(L, 2)); return 0 },
		"set_timeouts": func(L *glua.LState) int {
			set(L, min(millis(L, 2)+millis(L, 3)+millis(L, 4), maxTimeout))
			return 0
		},
		"set_keepalive": done, "close": done, "get_reused_times": func(L *glua.LState) int { L.Push(glua.LNumber(0)); return 1 },
	}))
	object := s.L.NewTable()
	object.RawSetString("__index", methods)
	object.RawSetString("__metatable", glua.LFalse)
	s.http = s.seal(s.functions(map[string]glua.LGFunction{"new": func(L *glua.LState) int {
		t := L.NewTable()
		t.Metatable = object
		L.Push(t)
		return 1
	}}))
	return s.http
}

func (s *state) parseURI(L *glua.LState) int {
	u, err := parseHTTP(L.CheckString(2))
	if err != nil {
		return fail(L, err)
	}
	port := map[string]int{"http": 80, "https": 443}[u.Scheme]
	t := L.NewTable()
	t.Append(glua.LString(u.Scheme))
	t.Append(glua.LString(u.Hostname()))
	if p := u.Port(); p != "" {
		t.Append(glua.LString(p))
	} else {
		t.Append(glua.LNumber(port))
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	t.Append(glua.LString(path))
	t.Append(glua.LString(u.RawQuery))
	L.Push(t)
	return 1
}

func parseHTTP(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errNoURI
	}
	return u, nil
}

// requestURI sends one request and gives code the whole answer. While it waits, the call's
// own time stands still.
func (s *state) requestURI(L *glua.LState) int {
	self := L.CheckTable(1)
	opts := L.OptTable(3, L.NewTable())
	req, err := s.outbound(L, L.CheckString(2), opts)
	if err != nil {
		return fail(L, err)
	}
	timeout := usualTimeout
	if ud, ok := self.RawGetString("timeout").(*glua.LUserData); ok {
		if d, ok := ud.Value.(time.Duration); ok && d > 0 {
			timeout = d
		}
	}
	client := s.engine.clients[0]
	if opts.RawGetString("ssl_verify") == glua.LFalse {
		client = s.engine.clients[1]
	}
	var answer *callout.Answer
	err = s.watch.pause(maxTimeout, func(left time.Duration) error {
		ctx, cancel := context.WithTimeout(s.context(), min(timeout, left))
		defer cancel()
		var err error
		answer, err = client.Do(ctx, req)
		return err
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fail(L, errors.New("timeout"))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(L, errors.New("connection refused"))
	case err != nil:
		return fail(L, err)
	}
	t := L.NewTable()
	t.RawSetString("status", glua.LNumber(answer.Status))
	t.RawSetString("reason", glua.LString(http.StatusText(answer.Status)))
	t.RawSetString("body", glua.LString(answer.Body))
	t.RawSetString("has_body", glua.LBool(len(answer.Body) > 0))
	headers := L.NewTable()
	for name, values := range answer.Header {
		if len(values) == 1 {
			headers.RawSetString(strings.ToLower(name), glua.LString(values[0]))
			continue
		}
		list := L.NewTable()
		for _, v := range values {
			list.Append(glua.LString(v))
		}
		headers.RawSetString(strings.ToLower(name), list)
	}
	headers.Metatable = s.headerMeta
	t.RawSetString("headers", headers)
	t.RawSetString("read_body", L.NewFunction(func(L *glua.LState) int { return pushText(L, string(answer.Body)) }))
	L.Push(t)
	return 1
}

// outbound makes the request that the options of request_uri ask for.
func (s *state) outbound(L *glua.LState, uri string, opts *glua.LTable) (*http.Request, error) {
	u, err := parseHTTP(uri)
	if err != nil {
		return nil, err
	}
	if path := field(opts, "path"); path != "" {
		u.Path, u.RawPath = path, ""
	}
	switch q := opts.RawGetString("query").(type) {
	case glua.LString:
		u.RawQuery = strings.TrimPrefix(string(q), "?")
	case *glua.LTable:
		u.RawQuery = s.encodeArgs(L, q)
	}
	body, method := field(opts, "body"), field(opts, "method")
	if t, ok := opts.RawGetString("body").(*glua.LTable); ok {
		var b strings.Builder
		for i := 1; i <= t.Len(); i++ {
			part, _ := text(t.RawGetInt(i))
			s.bound(L, b.Len()+len(part))
			b.WriteString(part)
		}
		body = b.String()
	}
	req, err := http.NewRequest(method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, errors.New("bad method")
	}
	if headers, ok := opts.RawGetString("headers").(*glua.LTable); ok {
		headers.ForEach(func(k, v glua.LValue) {
			name, ok := text(k)
			if !ok {
				return
			}
			if list, isList := v.(*glua.LTable); isList {
				for i := 1; i <= list.Len(); i++ {
					if one, ok := text(list.RawGetInt(i)); ok {
						req.Header.Add(name, one)
					}
				}
			} else if one, ok := text(v); ok {
				req.Header.Add(name, one)
			}
		})
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	return req, nil
}
