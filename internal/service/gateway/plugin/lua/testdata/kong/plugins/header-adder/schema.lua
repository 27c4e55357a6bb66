local typedefs = require "kong.db.schema.typedefs"

return {
  name = "header-adder",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
        type = "record",
        fields = {
          { request_headers = { type = "map", keys = typedefs.header_name, values = { type = "string" } } },
          { response_headers = { type = "array", required = true, default = {}, elements = {
              type = "record",
              fields = { { name = typedefs.header_name { required = true } }, { value = { type = "string", default = "1" } } },
          } } },
          { mark = { type = "string", one_of = { "!", "?" } } },
          { port = typedefs.port { default = 80 } },
          { word = { type = "string", match = "^%l+$" } },
          { even = { type = "integer", custom_validator = function(n)
              if n % 2 == 0 then return true end
              return nil, "must be even"
          end } },
        },
        entity_checks = { { at_least_one_of = { "request_headers", "response_headers" } } },
    } },
  },
}
