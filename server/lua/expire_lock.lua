#!lua
--[[
expire_lock: release one lock, whole, if it is past its deadline.
KEYS: seats_key meta_key locks_key deadlines_key log_key channel conduct_key
ARGV: showtime user
Returns: ok (released seats) | live | gone | rebuild
Emits: seat.released
]]
--- @include now
--- @include load_lock
--- @include lapse_lock
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 and redis.call('EXISTS', locks_key) == 1 then
  return { 'rebuild' }
end
local lock = load_lock(locks_key, user)
if not lock then
  redis.call('ZREM', deadlines_key, showtime .. ':' .. user)
  return { 'gone' }
end
local time = now()
if lock.deadline > time then return { 'live' } end
local event = lapse_lock(seats_key, locks_key, deadlines_key, conduct_key, showtime, lock)
announce(meta_key, log_key, channel, { time = time, showtime = showtime }, { event })
return { 'ok', unpack(event.seats) }
