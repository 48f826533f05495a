--- Sets aside for how long the seats of a purchase were held: `conduct` has `b:<booking>` -> `<user> <ms>`,
--- which counts if its buyer gives any back. Who has other seats in the showtime has it counted with them.
local function set_aside(conduct_key, locks_key, user, booking, checkout, time)
  local lock, others = unpack(redis.call('HMGET', locks_key, 'u:' .. user, 'n:' .. user))
  local deadline = (checkout or ''):match('^%S+ (%d+)')
  if lock or others or not deadline then return end
  local spent, counted = (redis.call('HGET', conduct_key, 'u:' .. user) or ''):match('^(%d+) (%d+)$')
  local ended = math.min(deadline, time)
  if not spent or ended <= tonumber(counted) then return end
  redis.call('HSET', conduct_key, 'b:' .. booking, string.format('%s %d', user, ended - counted),
    'u:' .. user, string.format('%d %d', spent, ended))
end
