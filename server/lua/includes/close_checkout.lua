--- Ends a checkout: its record, its deadline, and its share of the user's cap. Returns its seats.
local function close_checkout(locks_key, checkouts_key, showtime, booking)
  redis.call('ZREM', checkouts_key, showtime .. ':' .. booking)
  local seats = {}
  local record = redis.call('HGET', locks_key, 'b:' .. booking)
  if not record then return seats end
  redis.call('HDEL', locks_key, 'b:' .. booking)
  local user, list = record:match('^(%S+) %d+ (%S+)$')
  for seat in list:gmatch('[^,]+') do seats[#seats + 1] = seat end
  if redis.call('HINCRBY', locks_key, 'n:' .. user, -#seats) <= 0 then
    redis.call('HDEL', locks_key, 'n:' .. user)
  end
  return seats
end
