--- Counts the time until `ended` as spent by somebody who held seats and has not bought them: `conduct`
--- has `<ms spent> <ms until which that is counted>`. Without a record there is nothing to count.
local function spend_time(conduct_key, user, ended)
  local spent, counted = (redis.call('HGET', conduct_key, 'u:' .. user) or ''):match('^(%d+) (%d+)$')
  if not spent or ended <= tonumber(counted) then return end
  redis.call('HSET', conduct_key, 'u:' .. user, string.format('%d %d', spent + ended - counted, ended))
end
