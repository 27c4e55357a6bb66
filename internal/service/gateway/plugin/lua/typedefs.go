package lua

import (
	glua "github.com/yuin/gopher-lua"
)

// typedefsSource is the module kong.db.schema.typedefs: descriptions to start from. Each can be called with what is
// to differ. A format names the check that its strings pass, see gateway.Format.
const typedefsSource = `
local null = ngx.null
local def
def = function(t)
  return setmetatable(t, { __call = function(self, more)
    local copy = {}
    for k, v in pairs(self) do copy[k] = v end
    for k, v in pairs(more or {}) do copy[k] = v end
    return def(copy)
  end })
end
local function str(format, t) t = t or {} t.type, t.format = "string", format return def(t) end
local function int(from, to) return def({ type = "integer", between = { from, to } }) end
local function set(...) return def({ type = "set", elements = { type = "string", one_of = { ... } } }) end
local function list(kind, format) return def({ type = kind, elements = { type = "string", format = format } }) end
local function absent(reference) return def({ type = "foreign", reference = reference, eq = null }) end
local function ends() return def({ type = "set", elements = { type = "record", fields = {
  { ip = { type = "string", format = "ip_or_cidr" } }, { port = { type = "integer", between = { 0, 65535 } } } } } }) end
local typedefs = {
  no_consumer = absent("consumers"), no_route = absent("routes"), no_service = absent("services"),
  no_consumer_group = absent("consumer_groups"), no_api = absent("apis"),
  protocol = def({ type = "string", one_of = { "grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp" } }),
  protocols = set("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"),
  protocols_http = set("grpc", "grpcs", "http", "https"), protocols_http_and_ws = set("grpc", "grpcs", "http", "https"),
  protocols_https = set("https", "grpcs"), protocols_http_https = set("http", "https"), protocols_stream = set("tcp", "tls", "udp"),
  host = str("host"), hosts = list("array", "wildcard_host"), wildcard_host = str("wildcard_host"),
  ip = str("ip"), ip_or_cidr = str("ip_or_cidr"), cidr_v4 = str("cidr_v4"), sources = ends(), destinations = ends(),
  port = int(0, 65535), path = str("path", { starts_with = "/" }), router_path = str("router_path"), paths = list("array", "router_path"),
  url = str("url"), timeout = int(0, 2147483646), uuid = str(nil, { uuid = true, auto = true }),
  name = str("name", { unique = true }), utf8_name = str("utf8_name", { unique = true }),
  header_name = str("header_name"), cookie_name = str("cookie_name"), cookie_value = str(nil, { match = "^[^%c;]*$" }),
  http_method = str("http_method"), methods = list("set", "http_method"),
  headers = def({ type = "map", keys = { type = "string", format = "header_name" }, values = { type = "array", elements = { type = "string" } } }),
  tag = str("tag"), tags = list("set", "tag"), sni = str("sni"), snis = list("set", "sni"), certificate = str("certificate"), key = str("key"),
  auto_timestamp_s = def({ type = "integer", timestamp = true, auto = true }), auto_timestamp_ms = def({ type = "number", timestamp = true, auto = true }),
  semantic_version = str("semantic_version"), lua_code = def({ type = "map", keys = { type = "string" }, values = { type = "string" } }),
  run_on_first = def({ type = "string", default = "first", one_of = { "first" } }),
}
return setmetatable(typedefs, { __index = function(_, name) error("there is no typedef '" .. tostring(name) .. "'", 2) end })`

// typedefs runs the module in a state.
func (s *state) typedefs(L *glua.LState) glua.LValue {
	if v := s.modules["kong.db.schema.typedefs"]; v != nil {
		return v
	}
	p, err := s.engine.compile("typedefs", typedefsSource, true)
	if err != nil {
		L.RaiseError("%s", err.Error())
	}
	L.Push(s.load(p).chunk)
	L.Call(0, 1)
	v := L.Get(-1)
	L.Pop(1)
	s.modules["kong.db.schema.typedefs"] = v
	return v
}
