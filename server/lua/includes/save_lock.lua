--- Writes the lock and its deadline; a lock without seats ceases to be.
local function save_lock(locks_key, deadlines_key, showtime, lock)
  local field, member = 'u:' .. lock.user, showtime .. ':' .. lock.user
  if #lock.seats == 0 then
    redis.call('HDEL', locks_key, field)
    redis.call('ZREM', deadlines_key, member)
    return
  end
  local numbers = string.format('%d %d', lock.deadline, lock.extensions)
  local record = { lock.id, numbers, lock.operation, table.concat(lock.seats, ',') }
  redis.call('HSET', locks_key, field, table.concat(record, ' '))
  redis.call('ZADD', deadlines_key, lock.deadline, member)
end
