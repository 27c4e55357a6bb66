local typedefs = require "kong.db.schema.typedefs"
local PLUGIN_NAME = ({ ... })[1]:match("^kong%.plugins%.([^%.]+)")

return {
  name = PLUGIN_NAME,
  fields = {
    { protocols = typedefs.protocols_http },
    { config = { type = "record", fields = {
        { request_header = typedefs.header_name { required = true, default = "Hello-World" } },
        { response_header = typedefs.header_name { required = true, default = "Bye-World" } },
        { ttl = { type = "integer", default = 600, required = true, gt = 0 } },
      },
      entity_checks = { { distinct = { "request_header", "response_header" } } },
    } },
  },
}
