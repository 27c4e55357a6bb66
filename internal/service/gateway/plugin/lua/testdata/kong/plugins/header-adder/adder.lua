local _M = {}

function _M.add(headers, mark)
  for _, pair in ipairs(headers) do
    kong.response.add_header(pair.name, pair.value .. (mark or ""))
  end
end

return _M
