--- Records that a booking has seats of a user until `deadline`; a second call changes nothing.
local function open_checkout(locks_key, checkouts_key, showtime, booking, user, deadline, seats)
  local record = string.format('%s %d %s', user, deadline, table.concat(seats, ','))
  if redis.call('HSETNX', locks_key, 'b:' .. booking, record) == 1 then
    redis.call('HINCRBY', locks_key, 'n:' .. user, #seats)
    redis.call('ZADD', checkouts_key, deadline, showtime .. ':' .. booking)
  end
end
