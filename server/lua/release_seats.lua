#!lua
--[[
release_seats: take seats (none named: all) out of the user's own lock. Seats that are not in it are
left alone. A repeat of the same operation answers as the first run did.
KEYS: seats_key meta_key locks_key deadlines_key log_key channel conduct_key operation_key
ARGV: showtime user request_id wanted...
Returns: ok (released seats joined by commas, logged, the rest of the lock) | rebuild
Emits: seat.released
]]
--- @include now
--- @include load_lock
--- @include save_lock
--- @include free_seats
--- @include drop_seats
--- @include spend_time
--- @include lapse_lock
--- @include lock_reply
--- @include announce
--- @include recent_log
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
local time = now()
local change = { time = time, showtime = showtime, request_id = request_id }
local lock, logged = load_lock(locks_key, user), {}
local released = redis.call('GET', operation_key)
if released then
  logged = recent_log(log_key, showtime, user)
elseif lock and lock.deadline <= time then
  local event = lapse_lock(seats_key, locks_key, deadlines_key, conduct_key, showtime, lock)
  logged = announce(meta_key, log_key, channel, change, { event })
elseif lock then
  local dropped = {}
  for _, seat in ipairs(#wanted > 0 and wanted or lock.seats) do dropped[seat] = true end
  local seats = drop_seats(lock, dropped)
  released = table.concat(seats, ',')
  redis.call('SET', operation_key, released, 'PX', 60000)
  if #seats > 0 then
    free_seats(seats_key, seats)
    save_lock(locks_key, deadlines_key, showtime, lock)
    if #lock.seats == 0 then spend_time(conduct_key, user, time) end
    logged = announce(meta_key, log_key, channel, change, {
      { type = 'seat.released', reason = 'released', seats = seats, actor = user, owner = user, lock = lock.id },
    })
  end
end
local reply = lock_reply(lock, time, logged)
table.insert(reply, 2, released or '')
return reply
