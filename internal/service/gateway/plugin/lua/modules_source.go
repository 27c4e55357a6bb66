package lua

// moduleSources are modules that published plugins require, in Lua of our own over what the sandbox has. Each keeps
// to what those plugins call; a state has its own copy.
var moduleSources = map[string]string{ //nolint:gochecknoglobals // a table
	"kong.tools.table": `
local M = {}
function M.pack(...) return { n = select("#", ...), ... } end
function M.unpack(t, i, j) return unpack(t, i or 1, j or t.n or #t) end
function M.table_contains(t, v) for _, e in pairs(t or {}) do if e == v then return true end end return false end
function M.table_merge(a, b)
  local out = {}
  for k, v in pairs(a or {}) do out[k] = v end
  for k, v in pairs(b or {}) do out[k] = v end
  return out
end
function M.is_array(t)
  if type(t) ~= "table" then return false end
  local n = 0
  for _ in pairs(t) do n = n + 1 if t[n] == nil then return false end end
  return true
end
function M.shallow_copy(t)
  if type(t) ~= "table" then return t end
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  return out
end
local function deep(t, seen)
  if type(t) ~= "table" then return t end
  if seen[t] then return seen[t] end
  local out = {}
  seen[t] = out
  for k, v in pairs(t) do out[deep(k, seen)] = deep(v, seen) end
  return out
end
function M.deep_copy(t) return deep(t, {}) end
M.cycle_aware_deep_copy = M.deep_copy
function M.concat(...)
  local out = {}
  for _, t in ipairs({ ... }) do for _, v in ipairs(t) do out[#out + 1] = v end end
  return out
end
function M.add_error(errors, k, v)
  errors = errors or {}
  local there = errors[k]
  if there == nil then errors[k] = v
  elseif type(there) == "table" then there[#there + 1] = v
  else errors[k] = { there, v } end
  return errors
end
return M`,

	"kong.tools.timestamp": `
local M = {}
function M.get_utc() return ngx.time() * 1000 end
function M.get_utc_ms() return math.floor(ngx.now() * 1000) end
function M.get_timestamps(now)
  local s = math.floor((now or M.get_utc_ms()) / 1000)
  local d = os.date("!*t", s)
  local day = s - d.hour * 3600 - d.min * 60 - d.sec
  local month = day - (d.day - 1) * 86400
  local year = day - (d.yday - 1) * 86400
  return { second = s * 1000, minute = (s - s % 60) * 1000, hour = (s - s % 3600) * 1000, day = day * 1000, month = month * 1000, year = year * 1000 }
end
return M`,

	"kong.tools.http": `
local M = {}
function M.validate_header_name(name)
  if name == nil or name == "" then return nil, "no header name provided" end
  if name:match("^[%w%-_]+$") then return name end
  return nil, "bad header name '" .. name .. "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
end
function M.validate_cookie_name(name)
  if name == nil or name == "" then return nil, "no cookie name provided" end
  if name:match("^[%w%-_%.~]+$") then return name end
  return nil, "bad cookie name '" .. name .. "'"
end
function M.get_header(name, headers) return (headers or kong.request.get_headers())[name] end
function M.encode_args(args) return ngx.encode_args(args) end
function M.decode_args(args) return ngx.decode_args(args) end
function M.check_https(trusted)
  local scheme = ngx.var.scheme
  if scheme == "https" then return true end
  return trusted and kong.request.get_forwarded_scheme() == "https" or false
end
return M`,

	"inspect": `
local function text(v, depth, seen)
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) ~= "table" then return tostring(v) end
  if seen[v] or depth > 20 then return "<table>" end
  seen[v] = true
  local parts, n, pad = {}, #v, ("  "):rep(depth + 1)
  for i = 1, n do parts[#parts + 1] = text(v[i], depth + 1, seen) end
  local keys = {}
  for k in pairs(v) do
    if not (type(k) == "number" and k >= 1 and k <= n and k % 1 == 0) then keys[#keys + 1] = k end
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do
    local name = type(k) == "string" and k:match("^[%a_][%w_]*$") or ("[" .. text(k, depth + 1, seen) .. "]")
    parts[#parts + 1] = "\n" .. pad .. name .. " = " .. text(v[k], depth + 1, seen)
  end
  seen[v] = nil
  local close = #keys > 0 and "\n" .. ("  "):rep(depth) or (n > 0 and " " or "")
  return "{" .. (n > 0 and " " or "") .. table.concat(parts, ", ") .. close .. "}"
end
local M = {}
function M.inspect(v) return text(v, 0, {}) end
return setmetatable(M, { __call = function(_, v) return text(v, 0, {}) end })`,

	"pl.stringx": `
local M = {}
function M.strip(s, chars)
  if not chars then return (s:match("^%s*(.-)%s*$")) end
  local set = "[" .. chars:gsub("%p", "%%%0") .. "]*"
  return (s:match("^" .. set .. "(.-)" .. set .. "$"))
end
function M.lstrip(s) return (s:match("^%s*(.*)$")) end
function M.rstrip(s) return (s:match("^(.-)%s*$")) end
function M.split(s, sep, n)
  local out, at = {}, 1
  if not sep or sep == "" or sep == " " then
    for word in s:gmatch("%S+") do out[#out + 1] = word end
    return out
  end
  while true do
    local from, to = s:find(sep, at, true)
    if not from or (n and #out + 1 >= n) then out[#out + 1] = s:sub(at) return out end
    out[#out + 1] = s:sub(at, from - 1)
    at = to + 1
  end
end
function M.startswith(s, p) return s:sub(1, #p) == p end
function M.endswith(s, p) return p == "" or s:sub(-#p) == p end
function M.replace(s, old, new, n)
  local from = old:gsub("%p", "%%%0")
  return (s:gsub(from, (new:gsub("%%", "%%%%")), n))
end
function M.count(s, sub)
  local n, at = 0, 1
  while true do
    local from, to = s:find(sub, at, true)
    if not from then return n end
    n, at = n + 1, to + 1
  end
end
function M.join(sep, list) return table.concat(list, sep) end
function M.isdigit(s) return s:match("^%d+$") ~= nil end
function M.isalpha(s) return s:match("^%a+$") ~= nil end
function M.isspace(s) return s:match("^%s+$") ~= nil end
function M.partition(s, sep)
  local from, to = s:find(sep, 1, true)
  if not from then return s, "", "" end
  return s:sub(1, from - 1), sep, s:sub(to + 1)
end
return M`,

	"pl.tablex": `
local M = {}
function M.keys(t) local out = {} for k in pairs(t) do out[#out + 1] = k end return out end
function M.values(t) local out = {} for _, v in pairs(t) do out[#out + 1] = v end return out end
function M.copy(t) local out = {} for k, v in pairs(t) do out[k] = v end return out end
local function deep(t)
  if type(t) ~= "table" then return t end
  local out = {}
  for k, v in pairs(t) do out[deep(k)] = deep(v) end
  return out
end
M.deepcopy = deep
local function same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end
M.deepcompare = same
function M.find(t, v, at) for i = at or 1, #t do if t[i] == v then return i end end end
function M.size(t) local n = 0 for _ in pairs(t) do n = n + 1 end return n end
function M.map(f, t, ...) local out = {} for k, v in pairs(t) do out[k] = f(v, ...) end return out end
function M.filter(t, f, ...) local out = {} for _, v in ipairs(t) do if f(v, ...) then out[#out + 1] = v end end return out end
function M.foreach(t, f, ...) for k, v in pairs(t) do f(v, k, ...) end end
function M.update(t, more) for k, v in pairs(more) do t[k] = v end return t end
function M.merge(a, b, all)
  local out = {}
  for k, v in pairs(a) do if all or b[k] ~= nil then out[k] = v end end
  if all then for k, v in pairs(b) do out[k] = v end end
  return out
end
function M.union(a, b) return M.merge(a, b, true) end
function M.intersection(a, b) return M.merge(a, b, false) end
function M.makeset(t) local out = {} for _, v in ipairs(t) do out[v] = true end return out end
function M.sort(t)
  local keys, i = M.keys(t), 0
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return function() i = i + 1 if keys[i] ~= nil then return keys[i], t[keys[i]] end end
end
return M`,

	"pl.pretty": `
local inspect = require "inspect"
local M = {}
function M.write(t) return inspect(t) end
function M.dump(t) ngx.log(ngx.NOTICE, inspect(t)) end
return setmetatable(M, { __call = function(_, t) return inspect(t) end })`,

	"socket.url": `
local M = {}
function M.escape(s) return (s:gsub("[^%w%-_%.~]", function(c) return string.format("%%%02x", c:byte()) end)) end
function M.unescape(s) return (s:gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)) end
function M.parse(url, default)
  local out = {}
  for k, v in pairs(default or {}) do out[k] = v end
  if not url or url == "" then return nil, "invalid url" end
  local rest = url:gsub("#(.*)$", function(f) out.fragment = f return "" end)
  rest = rest:gsub("^([%w][%w%+%-%.]*)%:", function(s) out.scheme = s return "" end)
  rest = rest:gsub("^//([^/%?]*)", function(a) out.authority = a return "" end)
  rest = rest:gsub("%?(.*)$", function(q) out.query = q return "" end)
  rest = rest:gsub("%;(.*)$", function(p) out.params = p return "" end)
  if rest ~= "" then out.path = rest end
  local authority = out.authority
  if not authority then return out end
  authority = authority:gsub("^([^@]*)@", function(u) out.userinfo = u return "" end)
  authority = authority:gsub(":([^:%]]*)$", function(p) out.port = p return "" end)
  if authority ~= "" then out.host = authority:match("^%[(.+)%]$") or authority end
  if out.userinfo then
    out.user, out.password = out.userinfo:match("^([^:]*):?(.*)$")
    if out.password == "" then out.password = nil end
  end
  return out
end
function M.build(t)
  local out = t.path or ""
  if t.params then out = out .. ";" .. t.params end
  if t.query then out = out .. "?" .. t.query end
  local authority = t.authority
  if t.host then
    authority = t.host:find(":", 1, true) and "[" .. t.host .. "]" or t.host
    if t.port then authority = authority .. ":" .. t.port end
    if t.userinfo then authority = t.userinfo .. "@" .. authority end
  end
  if authority then out = "//" .. authority .. out end
  if t.scheme then out = t.scheme .. ":" .. out end
  if t.fragment then out = out .. "#" .. t.fragment end
  return out
end
return M`,

	"resty.lrucache": `
local M, L = {}, {}
L.__index = L
local most = 10000
function M.new(size)
  if type(size) ~= "number" or size < 1 then return nil, "size too small" end
  return setmetatable({ size = math.min(size, most), n = 0, tick = 0, at = {}, value = {}, until_ = {}, flag = {} }, L)
end
function L:drop(k) if self.at[k] then self.at[k], self.value[k], self.until_[k], self.flag[k] = nil, nil, nil, nil self.n = self.n - 1 end end
function L:get(k)
  if not self.at[k] then return nil end
  local v, late = self.value[k], self.until_[k]
  if late and late < ngx.now() then return nil, v, self.flag[k] end
  self.tick = self.tick + 1
  self.at[k] = self.tick
  return v, nil, self.flag[k]
end
function L:set(k, v, ttl, flags)
  if not self.at[k] then
    if self.n >= self.size then
      local oldest, least
      for key, at in pairs(self.at) do if not least or at < least then oldest, least = key, at end end
      self:drop(oldest)
    end
    self.n = self.n + 1
  end
  self.tick = self.tick + 1
  self.at[k], self.value[k], self.flag[k] = self.tick, v, flags or 0
  self.until_[k] = ttl and ngx.now() + ttl or nil
end
function L:delete(k) self:drop(k) end
function L:count() return self.n end
function L:capacity() return self.size end
function L:flush_all() self.n, self.at, self.value, self.until_, self.flag = 0, {}, {}, {}, {} end
function L:get_keys(max)
  local out = {}
  for k in pairs(self.at) do if max and max > 0 and #out >= max then break end out[#out + 1] = k end
  return out
end
return M`,

	"resty.cookie": `
local M, C = {}, {}
C.__index = C
function M.new() return setmetatable({}, C) end
function C:get_all()
  local line, out = kong.request.get_header("cookie"), {}
  if not line then return nil, "no cookie found in current request" end
  for k, v in line:gmatch("([^=;%s]+)=([^;]*)") do out[k] = v end
  return out
end
function C:get(name)
  local all, err = self:get_all()
  if not all then return nil, err end
  return all[name]
end
function C:set(c)
  if not c.key or not c.value then return nil, 'missing cookie field "key" or "value"' end
  local line = c.key .. "=" .. c.value
  for _, f in ipairs({ { "expires", "Expires" }, { "max_age", "Max-Age" }, { "domain", "Domain" }, { "path", "Path" }, { "samesite", "SameSite" }, { "extension" } }) do
    local v = c[f[1]]
    if v then line = line .. "; " .. (f[2] and f[2] .. "=" or "") .. v end
  end
  if c.secure then line = line .. "; Secure" end
  if c.httponly then line = line .. "; HttpOnly" end
  kong.response.add_header("Set-Cookie", line)
  return true
end
return M`,

	"resty.lock": `
local M, K = {}, {}
K.__index = K
function M:new(dict, opts)
  local shared = ngx.shared[dict]
  if not shared then return nil, "dictionary not found" end
  opts = opts or {}
  return setmetatable({ dict = shared, ttl = opts.exptime or 30, timeout = opts.timeout or 5, step = opts.step or 0.001, ratio = opts.ratio or 2, most = opts.max_step or 0.5 }, K)
end
function K:lock(key)
  if self.key then return nil, "locked" end
  local waited, step = 0, self.step
  while true do
    local ok, err = self.dict:add("lock:" .. key, true, self.ttl)
    if ok then self.key = key return waited end
    if err ~= "exists" then return nil, err end
    if waited >= self.timeout then return nil, "timeout" end
    ngx.sleep(step)
    waited, step = waited + step, math.min(step * self.ratio, self.most, math.max(self.timeout - waited, 0.001))
  end
end
function K:unlock()
  if not self.key then return nil, "unlocked" end
  self.dict:delete("lock:" .. self.key)
  self.key = nil
  return 1
end
function K:expire(ttl)
  if not self.key then return nil, "unlocked" end
  self.dict:set("lock:" .. self.key, true, ttl or self.ttl)
  return true
end
return M`,

	"ngx.semaphore": `
local M, S = {}, {}
S.__index = S
function M.new(n) return setmetatable({ n = n or 0 }, S) end
function S:post(n) self.n = self.n + (n or 1) return true end
function S:count() return self.n end
function S:wait(timeout)
  local waited = 0
  while self.n <= 0 do
    if waited >= (timeout or 0) then return nil, "timeout" end
    ngx.sleep(0.001)
    waited = waited + 0.001
  end
  self.n = self.n - 1
  return true
end
return M`,
}
