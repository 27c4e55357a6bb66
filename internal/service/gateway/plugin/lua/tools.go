package lua

import (
	"crypto/md5"  // #nosec: resty.md5 is what it is
	"crypto/sha1" // #nosec: resty.sha1 is what it is
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

func encodeBase64URL(L *glua.LState) int {
	return pushText(L, base64.RawURLEncoding.EncodeToString([]byte(L.CheckString(1))))
}

func decodeBase64URL(L *glua.LState) int {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(L.CheckString(1), "="))
	if err != nil {
		return fail(L, err)
	}
	return pushText(L, string(raw))
}

func toHex(L *glua.LState) int { return pushText(L, hex.EncodeToString([]byte(L.CheckString(1)))) }

// reSplit is ngx.re.split.
func (s *state) reSplit(L *glua.LState) int {
	re := s.pattern(L, L.CheckString(2), L.OptString(3, ""))
	t := L.NewTable()
	for _, part := range re.Split(L.CheckString(1), min(L.OptInt(5, -1), maxMatches)) {
		t.Append(glua.LString(part))
	}
	L.Push(t)
	return 1
}

// stringTools is kong.tools.string.
func (s *state) stringTools() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{
		"strip": func(L *glua.LState) int { return pushText(L, strings.TrimSpace(L.OptString(1, ""))) },
		"split": func(L *glua.LState) int {
			t := L.NewTable()
			for _, part := range strings.SplitN(L.CheckString(1), L.OptString(2, ","), maxMatches) {
				t.Append(glua.LString(part))
			}
			L.Push(t)
			return 1
		},
	}))
}

// constants is kong.constants and kong.meta.
func (s *state) constants(name string) glua.LValue {
	t := s.L.NewTable()
	if name == "kong.meta" {
		t.RawSetString("version", glua.LString(gateway.Version))
		t.RawSetString("core_version", glua.LString(gateway.Version))
		return s.seal(t)
	}
	headers := s.L.NewTable()
	for _, h := range []string{"X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username", "X-Credential-Identifier", "X-Anonymous-Consumer",
		"X-Forwarded-Path", "X-Forwarded-Prefix", "X-RateLimit-Limit", "X-RateLimit-Remaining"} {
		headers.RawSetString(strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(h, "X-"), "-", "_")), glua.LString(h))
	}
	headers.RawSetString("ANONYMOUS", glua.LString("X-Anonymous-Consumer"))
	t.RawSetString("HEADERS", headers)
	return s.seal(t)
}

// digestModule is resty.sha256 and its like: new, update, final.
func (s *state) digestModule(name string) glua.LValue {
	make := map[string]func() hash.Hash{"resty.sha256": sha256.New, "resty.sha1": sha1.New, "resty.sha512": sha512.New, "resty.md5": md5.New}[name]
	return s.seal(s.functions(map[string]glua.LGFunction{"new": func(L *glua.LState) int {
		h := make()
		L.Push(s.functions(map[string]glua.LGFunction{
			"update": func(L *glua.LState) int { h.Write([]byte(L.CheckString(2))); L.Push(glua.LTrue); return 1 },
			"final":  func(L *glua.LState) int { return pushText(L, string(h.Sum(nil))) },
			"reset":  func(L *glua.LState) int { h.Reset(); L.Push(glua.LTrue); return 1 },
		}))
		return 1
	}}))
}
