package lua

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/md5" // #nosec: what a plugin asks for by name
	"crypto/rand"
	"crypto/sha1" // #nosec: what a plugin asks for by name
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"net/netip"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// hashes are digests by the names that OpenSSL has for them.
var hashes = map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New} //nolint:gochecknoglobals // a table

// digesting is an object over a hash: update, and final, which may take the last piece.
func (s *state) digesting(h hash.Hash) *glua.LTable {
	update := func(L *glua.LState) int {
		for i := 2; i <= L.GetTop(); i++ {
			h.Write([]byte(L.CheckString(i)))
		}
		L.Push(glua.LTrue)
		return 1
	}
	return s.functions(map[string]glua.LGFunction{
		"update": update,
		"final": func(L *glua.LState) int {
			if last, ok := L.Get(2).(glua.LString); ok {
				h.Write([]byte(last))
			}
			sum := h.Sum(nil)
			if L.ToBool(3) { // resty.hmac: in hexadecimal
				return pushText(L, hex.EncodeToString(sum))
			}
			return pushText(L, string(sum))
		},
		"reset": func(L *glua.LState) int { h.Reset(); L.Push(glua.LTrue); return 1 },
	})
}

// hmacModule is resty.hmac and resty.openssl.hmac, which differ in how a digest is named.
func (s *state) hmacModule(name string) glua.LValue {
	t := s.L.NewTable()
	if name == "resty.hmac" {
		algorithms := s.L.NewTable()
		for algorithm := range hashes {
			algorithms.RawSetString(strings.ToUpper(algorithm), glua.LString(algorithm))
		}
		t.RawSetString("ALGOS", algorithms)
	}
	t.RawSetString("new", s.L.NewFunction(func(L *glua.LState) int {
		at := 1
		if _, isMethod := L.Get(1).(*glua.LTable); isMethod {
			at = 2
		}
		algorithm := strings.ToLower(L.OptString(at+1, "sha1"))
		make, ok := hashes[algorithm]
		if !ok {
			L.Push(glua.LNil)
			L.Push(glua.LString("invalid digest type \"" + algorithm + "\""))
			return 2
		}
		L.Push(s.digesting(hmac.New(make, []byte(L.CheckString(at)))))
		return 1
	}))
	return s.seal(t)
}

// namedDigests is resty.openssl.digest.
func (s *state) namedDigests() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{"new": func(L *glua.LState) int {
		algorithm := strings.ToLower(L.OptString(1, "sha1"))
		make, ok := hashes[algorithm]
		if !ok {
			L.Push(glua.LNil)
			L.Push(glua.LString("invalid digest type \"" + algorithm + "\""))
			return 2
		}
		L.Push(s.digesting(make()))
		return 1
	}}))
}

// maxRandom bounds how many random bytes one call makes.
const maxRandom = 1 << 16

func (s *state) randomBytes(L *glua.LState) int {
	n := L.CheckInt(1)
	if n < 0 || n > maxRandom {
		L.RaiseError("between 0 and %d random bytes can be had, not %d", maxRandom, n)
	}
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return pushText(L, string(b))
}

// randomTools is kong.tools.rand.
func (s *state) randomTools() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{
		"get_rand_bytes": s.randomBytes,
		"random_string": func(L *glua.LState) int {
			b := make([]byte, 24)
			_, _ = rand.Read(b) // never fails
			return pushText(L, strings.NewReplacer("-", "a", "_", "b").Replace(base64.RawURLEncoding.EncodeToString(b)))
		},
	}))
}

// timeTools is kong.tools.time.
func (s *state) timeTools() glua.LValue {
	seconds := func(L *glua.LState) int { return s.pushNumber(L, float64(s.now().UnixMilli())/1000) }
	millis := func(L *glua.LState) int { return s.pushNumber(L, float64(s.now().UnixMilli())) }
	nanos := func(L *glua.LState) int { return s.pushNumber(L, float64(s.now().UnixNano())) }
	return s.seal(s.functions(map[string]glua.LGFunction{"get_now": seconds, "get_updated_now": seconds, "get_now_ms": millis, "get_updated_now_ms": millis,
		"get_start_time_ms": millis, "time_ns": nanos}))
}

// gzipTools is kong.tools.gzip. What is unpacked is bounded as bodies are.
func (s *state) gzipTools() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{
		"deflate_gzip": func(L *glua.LState) int {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write([]byte(L.CheckString(1))) // to memory
			_ = w.Close()
			return pushText(L, b.String())
		},
		"inflate_gzip": func(L *glua.LState) int {
			r, err := gzip.NewReader(strings.NewReader(L.CheckString(1)))
			if err != nil {
				return fail(L, err)
			}
			limit := int64(s.engine.cfg.Body)
			out, err := io.ReadAll(io.LimitReader(r, limit+1))
			if err != nil {
				return fail(L, err)
			}
			if int64(len(out)) > limit {
				L.Push(glua.LNil)
				L.Push(glua.LString("the unpacked text is too large"))
				return 2
			}
			return pushText(L, string(out))
		},
	}))
}

// ipTools is kong.tools.ip.
func (s *state) ipTools() glua.LValue {
	is := func(f func(text string) bool) glua.LGFunction {
		return func(L *glua.LState) int { L.Push(glua.LBool(f(L.OptString(1, "")))); return 1 }
	}
	address := func(text string) bool { _, err := netip.ParseAddr(text); return err == nil }
	prefix := func(text string) bool { _, err := netip.ParsePrefix(text); return err == nil }
	return s.seal(s.functions(map[string]glua.LGFunction{
		"is_valid_ip": is(address), "is_valid_cidr": is(prefix), "is_valid_ip_or_cidr": is(func(text string) bool { return address(text) || prefix(text) }),
		"hostname_type": func(L *glua.LState) int {
			switch a, err := netip.ParseAddr(strings.Trim(L.CheckString(1), "[]")); {
			case err != nil:
				return pushText(L, "name")
			case a.Is4():
				return pushText(L, "ipv4")
			}
			return pushText(L, "ipv6")
		},
	}))
}
