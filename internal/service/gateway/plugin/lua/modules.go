package lua

import (
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
	case "resty.string":
		v = s.seal(s.functions(map[string]glua.LGFunction{"to_hex": toHex}))
	case "resty.openssl.x509":
		v = s.x509Module()
	case "resty.openssl.x509.store":
		v = s.storeModule()
	case "resty.openssl.x509.chain":
		v = s.chainModule()
	default:
		return nil
	}
	s.modules[name] = v
	return v
}
