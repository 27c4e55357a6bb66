package lua

import (
	"crypto/hmac"
	"crypto/md5"  // #nosec: ngx.md5 is what it is
	"crypto/sha1" // #nosec: ngx.sha1_bin is what it is
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// nginx's log levels.
const (
	levelEmerg = 1 + iota
	levelAlert
	levelCrit
	levelErr
	levelWarn
	levelNotice
	levelInfo
	levelDebug
)

var levelNames = map[string]int{"EMERG": levelEmerg, "ALERT": levelAlert, "CRIT": levelCrit, "ERR": levelErr, "WARN": levelWarn,
	"NOTICE": levelNotice, "INFO": levelInfo, "DEBUG": levelDebug}

func slogLevel(level int) slog.Level {
	switch {
	case level <= levelErr:
		return slog.LevelError
	case level == levelWarn:
		return slog.LevelWarn
	case level == levelDebug:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// logLine logs the arguments from the first on, as one message.
func (s *state) logLine(L *glua.LState, level, first int) int {
	if s.unit == nil {
		return 0
	}
	log := s.unit.Env.Log
	if !log.Enabled(s.context(), slogLevel(level)) {
		return 0
	}
	var b strings.Builder
	for i := first; i <= L.GetTop() && b.Len() < maxMessage; i++ {
		v := L.Get(i)
		if t, ok := v.(*glua.LTable); ok && L.GetMetaField(t, "__tostring") == glua.LNil {
			b.WriteString("table")
			continue
		}
		b.WriteString(L.ToStringMeta(v).String())
	}
	message := b.String()
	if len(message) > maxMessage {
		message = message[:maxMessage] + "…"
	}
	attrs := []slog.Attr{slog.String("phase", string(s.phase))}
	if s.x != nil {
		attrs = append(attrs, slog.String("request_id", strings.Clone(s.x.ID())))
	}
	log.LogAttrs(s.context(), slogLevel(level), message, attrs...)
	return 0
}

func (s *state) openNgx() glua.LValue {
	L := s.L
	t := s.functions(map[string]glua.LGFunction{
		"log":       func(L *glua.LState) int { return s.logLine(L, L.CheckInt(1), 2) },
		"now":       func(L *glua.LState) int { return s.pushNumber(L, float64(s.now().UnixMilli())/1000) },
		"time":      func(L *glua.LState) int { return s.pushNumber(L, float64(s.now().Unix())) },
		"today":     func(L *glua.LState) int { return pushText(L, s.now().Format("2006-01-02")) },
		"localtime": func(L *glua.LState) int { return pushText(L, s.now().Format("2006-01-02 15:04:05")) },
		"utctime":   func(L *glua.LState) int { return pushText(L, s.now().UTC().Format("2006-01-02 15:04:05")) },
		"http_time": func(L *glua.LState) int {
			return pushText(L, time.Unix(L.CheckInt64(1), 0).UTC().Format(http.TimeFormat))
		},
		"cookie_time": func(L *glua.LState) int {
			return pushText(L, time.Unix(L.CheckInt64(1), 0).UTC().Format("Mon, 02-Jan-06 15:04:05 GMT"))
		},
		"parse_http_time": func(L *glua.LState) int {
			at, err := http.ParseTime(L.CheckString(1))
			if err != nil {
				return 0
			}
			return s.pushNumber(L, float64(at.Unix()))
		},
		"update_time":   func(*glua.LState) int { return 0 },
		"escape_uri":    func(L *glua.LState) int { return pushText(L, escapeURI(L.CheckString(1))) },
		"unescape_uri":  func(L *glua.LState) int { return pushText(L, unescapeURI(L.CheckString(1))) },
		"encode_args":   func(L *glua.LState) int { return pushText(L, s.encodeArgs(L, L.CheckTable(1))) },
		"decode_args":   func(L *glua.LState) int { L.Push(s.args(L.CheckString(1), L.OptInt(2, 100))); return 1 },
		"encode_base64": encodeBase64, "decode_base64": decodeBase64,
		"md5": func(L *glua.LState) int {
			sum := md5.Sum([]byte(L.CheckString(1)))
			return pushText(L, hex.EncodeToString(sum[:]))
		},
		"md5_bin": func(L *glua.LState) int { sum := md5.Sum([]byte(L.CheckString(1))); return pushText(L, string(sum[:])) },
		"sha1_bin": func(L *glua.LState) int {
			sum := sha1.Sum([]byte(L.CheckString(1)))
			return pushText(L, string(sum[:]))
		},
		"hmac_sha1": func(L *glua.LState) int {
			mac := hmac.New(sha1.New, []byte(L.CheckString(1)))
			mac.Write([]byte(L.CheckString(2)))
			return pushText(L, string(mac.Sum(nil)))
		},
		"crc32_short": crc32Of, "crc32_long": crc32Of,
		"get_phase":    func(L *glua.LState) int { return pushText(L, string(s.phase)) },
		"exit":         s.ngxExit,
		"redirect":     s.ngxRedirect,
		"say":          func(L *glua.LState) int { return s.ngxPrint(L, "\n") },
		"print":        func(L *glua.LState) int { return s.ngxPrint(L, "") },
		"flush":        func(*glua.LState) int { return 0 },
		"send_headers": func(*glua.LState) int { return 0 },
		"sleep":        s.ngxSleep,
	})
	t.RawSetString("null", s.null)
	for name, n := range map[string]int{"OK": 0, "ERROR": -1, "AGAIN": -2, "DONE": -4, "DECLINED": -5,
		"STDERR": 0, "HTTP_GET": 2, "HTTP_HEAD": 4, "HTTP_POST": 8, "HTTP_PUT": 16, "HTTP_DELETE": 32, "HTTP_MKCOL": 64, "HTTP_OPTIONS": 512, "HTTP_PATCH": 16384,
		"HTTP_OK": 200, "HTTP_CREATED": 201, "HTTP_ACCEPTED": 202, "HTTP_NO_CONTENT": 204, "HTTP_MOVED_PERMANENTLY": 301, "HTTP_MOVED_TEMPORARILY": 302,
		"HTTP_SPECIAL_RESPONSE": 300, "HTTP_NOT_MODIFIED": 304, "HTTP_TEMPORARY_REDIRECT": 307, "HTTP_BAD_REQUEST": 400, "HTTP_UNAUTHORIZED": 401, "HTTP_FORBIDDEN": 403,
		"HTTP_NOT_FOUND": 404, "HTTP_NOT_ALLOWED": 405, "HTTP_NOT_ACCEPTABLE": 406, "HTTP_REQUEST_TIMEOUT": 408, "HTTP_CONFLICT": 409, "HTTP_GONE": 410,
		"HTTP_TOO_MANY_REQUESTS": 429, "HTTP_INTERNAL_SERVER_ERROR": 500, "HTTP_METHOD_NOT_IMPLEMENTED": 501, "HTTP_BAD_GATEWAY": 502,
		"HTTP_SERVICE_UNAVAILABLE": 503, "HTTP_GATEWAY_TIMEOUT": 504} {
		t.RawSetString(name, glua.LNumber(n))
	}
	for name, n := range levelNames {
		t.RawSetString(name, glua.LNumber(n))
	}
	one := func(n float64) glua.LGFunction { return func(L *glua.LState) int { return s.pushNumber(L, n) } }
	t.RawSetString("worker", s.seal(s.functions(map[string]glua.LGFunction{
		"pid": one(float64(os.Getpid())), "id": one(0), "count": one(1), "exiting": func(L *glua.LState) int { L.Push(glua.LFalse); return 1 },
	})))
	config := L.NewTable()
	config.RawSetString("subsystem", glua.LString("http"))
	config.RawSetString("debug", glua.LFalse)
	config.RawSetString("nginx_version", glua.LNumber(1025003))
	config.RawSetString("ngx_lua_version", glua.LNumber(10026))
	t.RawSetString("config", s.seal(config))
	t.RawSetString("re", s.seal(s.functions(map[string]glua.LGFunction{
		"match": s.reMatch, "find": s.reFind, "gmatch": s.reGmatch, "sub": s.reSub, "gsub": s.reGsub,
	})))
	t.RawSetString("req", s.seal(s.ngxReq()))

	variables := L.NewTable()
	variables.RawSetString("__index", L.NewFunction(s.getVariable))
	variables.RawSetString("__newindex", L.NewFunction(s.setVariable))
	t.RawSetString("var", s.sealed(variables))
	headers := L.NewTable()
	headers.RawSetString("__index", L.NewFunction(func(L *glua.LState) int { L.Push(s.answerHeader(headerName(L, 2))); return 1 }))
	headers.RawSetString("__newindex", L.NewFunction(func(L *glua.LState) int {
		if L.Get(3) == glua.LNil {
			s.headerOp(L, headerOp{kind: opClear, name: headerName(L, 2)})
		} else {
			s.setAnswerHeader(L, headerName(L, 2), L.Get(3))
		}
		return 0
	}))
	t.RawSetString("header", s.sealed(headers))

	chunk := L.NewTable()
	chunk.RawSetString("__index", L.NewFunction(func(L *glua.LState) int {
		switch L.CheckInt(2) {
		case 1:
			L.Push(s.arg)
		case 2:
			L.Push(glua.LBool(s.last))
		default:
			return 0
		}
		return 1
	}))
	chunk.RawSetString("__newindex", L.NewFunction(func(L *glua.LState) int {
		if L.CheckInt(2) == 1 {
			s.arg = L.Get(3)
		}
		return 0
	}))
	arg := s.sealed(chunk)

	shared, timers := s.sharedDicts(), s.ngxTimer()

	// What differs from request to request is computed; the rest reads as t.
	live := L.NewTable()
	live.RawSetString("__index", L.NewFunction(func(L *glua.LState) int {
		switch name := glua.LVAsString(L.Get(2)); name {
		case "ctx":
			if s.ngxCtx == nil {
				s.ngxCtx = L.NewTable()
			}
			L.Push(s.ngxCtx)
		case "status":
			if s.x == nil {
				return 0
			}
			L.Push(glua.LNumber(s.x.Response.Status))
		case "arg":
			L.Push(arg)
		case "headers_sent":
			L.Push(glua.LBool(s.phase == BodyFilter || s.phase == Log))
		case "shared":
			if s.prog == nil || !s.prog.trusted { // what the sandbox wrote would reach plugins
				return 0
			}
			L.Push(shared)
		case "timer":
			if s.prog == nil || !s.prog.trusted {
				return 0
			}
			L.Push(timers)
		default:
			L.Push(t.RawGetString(name))
		}
		return 1
	}))
	live.RawSetString("__newindex", L.NewFunction(func(L *glua.LState) int {
		switch glua.LVAsString(L.Get(2)) {
		case "ctx":
			s.ngxCtx = L.CheckTable(3)
		case "status":
			s.exchange(L).Response.Status = L.CheckInt(3)
		default:
			L.RaiseError("this table cannot be written")
		}
		return 0
	}))
	return s.sealed(live)
}

func pushText(L *glua.LState, v string) int {
	L.Push(glua.LString(v))
	return 1
}

func (s *state) pushNumber(L *glua.LState, n float64) int {
	L.Push(glua.LNumber(n))
	return 1
}

// exchange returns the exchange, where code runs for one.
func (s *state) exchange(L *glua.LState) *gateway.Exchange {
	if s.x == nil {
		L.RaiseError("no request in the %s phase", string(s.phase))
	}
	return s.x
}

func escapeURI(v string) string {
	return strings.ReplaceAll(url.QueryEscape(v), "+", "%20")
}

// unescapeURI decodes what can be decoded and leaves the rest.
func unescapeURI(v string) string {
	if u, err := url.QueryUnescape(v); err == nil {
		return u
	}
	return v
}

func encodeBase64(L *glua.LState) int {
	if L.Get(2) == glua.LTrue {
		return pushText(L, base64.RawStdEncoding.EncodeToString([]byte(L.CheckString(1))))
	}
	return pushText(L, base64.StdEncoding.EncodeToString([]byte(L.CheckString(1))))
}

func decodeBase64(L *glua.LState) int {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(L.CheckString(1), "="))
	if err != nil {
		return 0
	}
	return pushText(L, string(raw))
}

func crc32Of(L *glua.LState) int {
	L.Push(glua.LNumber(crc32.ChecksumIEEE([]byte(L.CheckString(1)))))
	return 1
}

// leave ends the call.
func (s *state) leave(L *glua.LState) int {
	L.Error(s.exit, 0)
	return 0
}

func (s *state) ngxExit(L *glua.LState) int {
	status := L.CheckInt(1)
	if s.phase.answers() && status >= 200 {
		if body := s.printed; body != nil {
			s.printed = nil
			s.x.Respond(status, body)
		} else if status >= 400 {
			s.x.Fail(status, http.StatusText(status))
		} else {
			s.x.Respond(status, nil)
		}
		s.exited = true
	}
	return s.leave(L)
}

func (s *state) ngxRedirect(L *glua.LState) int {
	x := s.exchange(L)
	if !s.phase.answers() {
		L.RaiseError("a redirect is not possible in the %s phase", string(s.phase))
	}
	status := L.OptInt(2, 302)
	switch status {
	case 301, 302, 303, 307, 308:
	default:
		L.RaiseError("only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_SEE_OTHER, ngx.HTTP_TEMPORARY_REDIRECT and 308 are allowed")
	}
	x.Respond(status, nil, gateway.Field{Name: "Location", Value: L.CheckString(1)})
	s.exited = true
	return s.leave(L)
}

func (s *state) ngxPrint(L *glua.LState, end string) int {
	s.exchange(L)
	for i := 1; i <= L.GetTop(); i++ {
		s.bound(L, len(s.printed))
		s.printed = append(s.printed, L.ToStringMeta(L.Get(i)).String()...)
	}
	s.printed = append(s.printed, end...)
	L.Push(glua.LNumber(1))
	return 1
}

func (s *state) ngxSleep(L *glua.LState) int {
	t := time.NewTimer(time.Duration(float64(L.CheckNumber(1)) * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.watch.Done():
	case <-s.context().Done():
		return s.leave(L)
	}
	return 0
}
