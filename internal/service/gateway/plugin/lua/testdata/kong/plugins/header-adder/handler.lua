local adder = require "kong.plugins.header-adder.adder"

local HeaderAdder = {
  PRIORITY = 950,
  VERSION = "1.2.0",
}

function HeaderAdder:access(conf)
  for name, value in pairs(conf.request_headers or {}) do
    kong.service.request.set_header(name, value)
  end
  kong.ctx.plugin.mark = conf.mark
end

function HeaderAdder:header_filter(conf)
  adder.add(conf.response_headers, kong.ctx.plugin.mark)
end

return HeaderAdder
