local http = require "resty.http"
local counts = ngx.shared.counts

local Worker = { PRIORITY = 10, VERSION = "1.0.0" }

local function eq(got, want, what)
  if got ~= want then
    error(what .. ": " .. tostring(got) .. ", want " .. tostring(want), 2)
  end
end

local function dictionary()
  local d = ngx.shared.scratch
  d:flush_all()
  eq(d:get("a"), nil, "an unknown key")
  eq(d:set("a", "v", 0, 7), true, "set")
  local v, flags = d:get("a")
  eq(v, "v", "get") eq(flags, 7, "flags")
  local ok, err = d:add("a", 1)
  eq(ok, false, "add") eq(err, "exists", "add")
  ok, err = d:replace("b", 1)
  eq(ok, false, "replace") eq(err, "not found", "replace")
  eq(d:incr("n", 2, 40), 42, "incr")
  eq(d:incr("n", -1), 41, "incr")
  ok, err = d:incr("a", 1)
  eq(ok, nil, "incr of text") eq(err, "not a number", "incr of text")
  ok, err = d:incr("none", 1)
  eq(err, "not found", "incr of none")
  eq(d:ttl("n"), 0, "ttl")
  eq(d:expire("n", 100), true, "expire")
  eq(d:ttl("n") > 99, true, "ttl")
  ok, err = d:ttl("none")
  eq(err, "not found", "ttl of none")
  d:set("gone", true, 0.001)
  ngx.sleep(0.005)
  eq(d:get("gone"), nil, "an old key")
  eq(d:get_stale("gone"), true, "an old key, stale")
  eq(#d:get_keys(), 2, "keys")
  eq(d:flush_expired(), 1, "flush_expired")
  d:set("a", nil)
  eq(d:get("a"), nil, "unset")
  d:delete("n")
  eq(d:free_space(), d:capacity(), "space")
  ok, err = d:set("t", {})
  eq(err, "bad value type", "a table")
  ok, err = d:set("big", ("x"):rep(9 * 1024 * 1024))
  eq(err, "no memory", "too big")
  local forced = false
  for i = 1, 10 do
    local _, _, f = d:set("k" .. i, ("x"):rep(1024 * 1024))
    forced = forced or f
  end
  eq(forced, true, "eviction")
  eq(d:get("k1"), nil, "the oldest") eq(#d:get("k10"), 1024 * 1024, "the newest")
  for i = 1, 40 do
    local _ = ngx.shared["name" .. i]
  end
  eq(ngx.shared.name40, nil, "too many dictionaries")
end

function Worker:init_worker()
  ngx.timer.every(0.002, function(premature, by)
    counts:incr("ticks", by, 0)
  end, 5)
end

function Worker:access(conf)
  if kong.request.get_path() == "/dict" then
    dictionary()
    return kong.response.exit(200, "fine")
  end
  local httpc = http.new()
  httpc:set_timeout(2000)
  local res, err = httpc:request_uri(conf.uri .. "/x", {
    method = "POST", query = { q = "1 2" }, body = "sent", headers = { ["X-One"] = "1", ["X-Two"] = { "a", "b" } },
  })
  if not res then
    return kong.response.exit(502, err)
  end
  kong.response.set_header("X-Got", res.headers["X-Answer"] .. res.status)
  local slow = http.new()
  slow:set_timeout(20)
  local _, timeout = slow:request_uri(conf.uri .. "/slow")
  local _, nobody = httpc:request_uri("http://127.0.0.1:1/")
  local _, bad = httpc:request_uri("ftp://h/")
  kong.response.set_header("X-Errors", timeout .. "," .. nobody .. "," .. bad)
  ngx.timer.at(0, function(premature, text)
    counts:set("late", text .. tostring(premature) .. ngx.get_phase())
  end, "after ")
  return kong.response.exit(200, res.body)
end

return Worker
