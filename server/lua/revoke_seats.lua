#!lua
--[[
revoke_seats: take seats out of whatever locks they are in, on an administrator's word. Seats of
bookings are left alone.
KEYS: seats_key meta_key locks_key deadlines_key log_key channel
ARGV: showtime actor request_id wanted...
Returns: ok (logged, revoked seats) | rebuild
Emits: seat.released
]]
--- @include now
--- @include load_lock
--- @include save_lock
--- @include free_seats
--- @include drop_seats
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
local by_user, events, reply = {}, {}, { 'ok', {} }
local states = redis.call('HMGET', seats_key, unpack(wanted))
for i, seat in ipairs(wanted) do
  local user = (states[i] or ''):match('^l:(.+)$')
  if user then
    by_user[user] = by_user[user] or {}
    by_user[user][seat] = true
    reply[#reply + 1] = seat
  end
end
for user, dropped in pairs(by_user) do
  local lock = load_lock(locks_key, user)
  local seats = drop_seats(lock, dropped)
  free_seats(seats_key, seats)
  save_lock(locks_key, deadlines_key, showtime, lock)
  events[#events + 1] = {
    type = 'seat.released', reason = 'revoked', seats = seats, actor = actor, owner = user, lock = lock.id,
  }
end
if #events > 0 then
  local change = { time = now(), showtime = showtime, request_id = request_id }
  reply[2] = announce(meta_key, log_key, channel, change, events)
end
return reply
