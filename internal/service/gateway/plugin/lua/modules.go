package lua

import (
	"slices"

	glua "github.com/yuin/gopher-lua"
)

// require returns a module: one of those below, or where a plugin asks, one of its own.
func (s *state) require(L *glua.LState) int {
	name := L.CheckString(1)
	if v := s.module(name); v != nil {
		L.Push(v)
		return 1
	}
	if s.prog != nil && s.prog.trusted {
		if name == "resty.http" {
			L.Push(s.httpModule())
			return 1
		}
		if v, ok := s.ownModule(L, name); ok {
			L.Push(v)
			return 1
		}
		L.RaiseError("module '%s' not found", name)
	}
	L.RaiseError("require '%s' not allowed within sandbox", name)
	return 0
}

// module returns a module that everybody may use, nil where there is none of the name.
func (s *state) module(name string) glua.LValue {
	if v := s.modules[name]; v != nil {
		return v
	}
	var v glua.LValue
	switch name {
	case "cjson":
		v = s.openCJSON(false)
	case "cjson.safe":
		v = s.openCJSON(true)
	case "string", "table", "math", "os", "coroutine", "ngx", "kong":
		v = s.L.GetField(s.globals, name)
	case "table.new", "table.clear", "table.isempty", "table.nkeys":
		v = s.L.GetField(s.globals.RawGetString("table"), name[len("table."):])
	case "ngx.re":
		v = s.seal(s.functions(map[string]glua.LGFunction{"split": s.reSplit}))
	case "ngx.ssl":
		v = s.seal(s.functions(map[string]glua.LGFunction{"server_name": func(L *glua.LState) int { L.Push(orNil(s.serverName)); return 1 }}))
	case "ngx.base64":
		v = s.seal(s.functions(map[string]glua.LGFunction{"encode_base64url": encodeBase64URL, "decode_base64url": decodeBase64URL}))
	case "kong.tools.uuid", "kong.tools.utils":
		v = s.uuidModule()
	case "kong.tools.string":
		v = s.stringTools()
	case "kong.constants", "kong.meta":
		v = s.constants(name)
	case "resty.sha256", "resty.sha1", "resty.sha512", "resty.md5":
		v = s.digestModule(name)
	case "resty.hmac", "resty.openssl.hmac":
		v = s.hmacModule(name)
	case "resty.openssl.digest":
		v = s.namedDigests()
	case "resty.random":
		v = s.seal(s.functions(map[string]glua.LGFunction{"bytes": func(L *glua.LState) int { return s.randomBytes(L) }}))
	case "kong.tools.rand":
		v = s.randomTools()
	case "kong.tools.time":
		v = s.timeTools()
	case "kong.tools.gzip":
		v = s.gzipTools()
	case "kong.tools.ip":
		v = s.ipTools()
	case "resty.string":
		v = s.seal(s.functions(map[string]glua.LGFunction{"to_hex": toHex}))
	case "resty.openssl.x509":
		v = s.x509Module()
	case "resty.openssl.x509.store":
		v = s.storeModule()
	case "resty.openssl.x509.chain":
		v = s.chainModule()
	default:
		if v = s.sourceModule(name); v == nil {
			return nil
		}
	}
	s.modules[name] = v
	return v
}

// goModules are those that module and require know by name; the others are sources, see sourceModule.
var goModules = []string{"cjson", "cjson.safe", "string", "table", "math", "os", "coroutine", "ngx", "kong", "table.new", "table.clear", "table.isempty", "table.nkeys", //nolint:gochecknoglobals // a table
	"ngx.re", "ngx.ssl", "ngx.base64", "kong.tools.uuid", "kong.tools.utils", "kong.tools.string", "kong.tools.rand", "kong.tools.time", "kong.tools.gzip", "kong.tools.ip",
	"kong.constants", "kong.meta", "resty.sha256", "resty.sha1", "resty.sha512", "resty.md5", "resty.hmac", "resty.string", "resty.random",
	"resty.openssl.x509", "resty.openssl.x509.store", "resty.openssl.x509.chain", "resty.openssl.digest", "resty.openssl.hmac", "resty.http", "kong.db.schema.typedefs"}

// knownModule reports whether plugins may require a module that is none of their own.
func knownModule(name string) bool {
	return slices.Contains(goModules, name) || moduleSources[name] != ""
}

// sourceModule runs a module that is written in Lua.
func (s *state) sourceModule(name string) glua.LValue {
	source := moduleSources[name]
	if source == "" {
		return nil
	}
	p, err := s.engine.compile(name, source, true)
	if err != nil {
		s.L.RaiseError("%s", err.Error())
	}
	s.L.Push(s.load(p).chunk)
	s.L.Push(glua.LString(name))
	s.L.Call(1, 1)
	v := s.L.Get(-1)
	s.L.Pop(1)
	return v
}
