local Peek = { PRIORITY = 20, VERSION = "1.0.0" }

function Peek:access()
  if kong.request.get_path() == "/peek" then
    local key = kong.request.get_header("X-Key")
    if key == "pending" then
      return kong.response.exit(200, tostring(ngx.timer.pending_count()))
    end
    return kong.response.exit(200, tostring(ngx.shared.counts:get(key)))
  end
end

return Peek
