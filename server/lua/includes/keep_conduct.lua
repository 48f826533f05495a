--- Writes what is remembered of how people behave, for twelve lives of a lock from now on: who has seats
--- from an address, and, with `spent` and `counted`, of a user whose lock begins.
local function keep_conduct(conduct_key, patience_ms, user, spent, counted, address, others)
  if patience_ms == '0' then return end
  if spent then
    redis.call('HSET', conduct_key, 'u:' .. user, string.format('%d %d', spent, counted))
  end
  if address ~= '' then
    others[#others + 1] = user
    redis.call('HSET', conduct_key, 'a:' .. address, table.concat(others, ' '))
  end
  redis.call('PEXPIRE', conduct_key, patience_ms * 12)
end
