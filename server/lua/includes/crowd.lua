--- Returns who else has seats now of those whom `listed` names, how many seats that is, and how many ms
--- until the first of their locks ends (`most` if none does).
local function crowd(locks_key, listed, user, time, most)
  local others, seats, wait = {}, 0, tonumber(most)
  for other in (listed or ''):gmatch('%S+') do
    local lock, held = unpack(redis.call('HMGET', locks_key, 'u:' .. other, 'n:' .. other))
    local deadline, list = (lock or ''):match('^%S+ (%d+) %d+ %S+ (%S+)$')
    held = (held or 0) + 0
    if other == user then deadline, held = nil, 0 end
    if deadline and tonumber(deadline) > time then
      held, wait = held + 1 + select(2, list:gsub(',', ',')), math.min(wait, deadline - time)
    end
    if held > 0 then
      others[#others + 1], seats = other, seats + held
    end
  end
  return others, seats, wait
end
