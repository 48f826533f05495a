--- Counts what `set_aside` has set aside, once: the buyer gives seats back. If somebody else does, that
--- is not the buyer's fault.
local function count_after_all(conduct_key, booking, actor)
  local user, held = (redis.call('HGET', conduct_key, 'b:' .. booking) or ''):match('^(%S+) (%d+)$')
  if user ~= actor then return end
  local spent, counted = redis.call('HGET', conduct_key, 'u:' .. user):match('^(%d+) (%d+)$')
  redis.call('HDEL', conduct_key, 'b:' .. booking)
  redis.call('HSET', conduct_key, 'u:' .. user, string.format('%d %d', spent + held, counted))
end
