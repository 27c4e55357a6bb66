local plugin = { PRIORITY = 1000, VERSION = "0.1" }

local started = 0

function plugin:init_worker()
  started = started + 1
end

function plugin:rewrite(conf)
  kong.ctx.shared.rewritten = true
end

function plugin:access(plugin_conf)
  assert(started == 1)
  local key = kong.request.get_header("apikey")
  if not key then
    return kong.response.exit(401, { message = "no key" }, { ["WWW-Authenticate"] = "Key" })
  end
  local tag, err = kong.db.services:insert({ name = "made-" .. key, host = "h" })
  kong.service.request.set_header(plugin_conf.request_header, tag and tag.name or "failed")
end

function plugin:response(plugin_conf)
  kong.response.set_header(plugin_conf.response_header, kong.service.response.get_status() .. kong.service.response.get_raw_body())
end

return plugin
