--- Returns the user's lock {user, id, deadline, extensions, operation, seats}, live or lapsed, or nil.
local function load_lock(locks_key, user)
  local record = redis.call('HGET', locks_key, 'u:' .. user)
  if not record then return nil end
  local id, deadline, extensions, operation, seats = record:match('^(%S+) (%d+) (%d+) (%S+) (%S+)$')
  local lock = {
    user = user, id = id, deadline = tonumber(deadline), extensions = tonumber(extensions),
    operation = operation, seats = {},
  }
  for seat in seats:gmatch('[^,]+') do lock.seats[#lock.seats + 1] = seat end
  return lock
end
