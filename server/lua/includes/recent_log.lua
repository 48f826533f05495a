--- Returns what was logged lately of a person and showtime, as `announce` returns it: for a repeat of
--- what an earlier run did, whose reply may have been lost.
local function recent_log(log_key, showtime, owner)
  local found = {}
  for _, entry in ipairs(redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 100)) do
    local flat, fields = entry[2], {}
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    if fields.owner == owner and fields.showtime == showtime then found[#found + 1] = flat end
  end
  return found
end
