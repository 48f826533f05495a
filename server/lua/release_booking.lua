#!lua
--[[
release_booking: free the seats (none named: those of its checkout, if that is past its deadline)
that still carry this booking's id, claimed or booked. A repeat changes nothing. For an hour it is
remembered that the booking has ended: whoever still believes in it and comes late must not take the
seats back.
KEYS: seats_key meta_key locks_key checkouts_key log_key channel ended_key conduct_key
ARGV: showtime booking reason actor request_id wanted...
Returns: ok (freed seats) | rebuild
Emits: seat.released
]]
--- @include now
--- @include free_seats
--- @include close_checkout
--- @include spend_time
--- @include count_after_all
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
local time = now()
local user, deadline = (redis.call('HGET', locks_key, 'b:' .. booking) or ''):match('^(%S+) (%d+)')
if #wanted == 0 and user and tonumber(deadline) > time then return { 'ok' } end
redis.call('HSET', ended_key, '*', reason)
redis.call('PEXPIRE', ended_key, 3600000)
local in_checkout = close_checkout(locks_key, checkouts_key, showtime, booking)
if user then spend_time(conduct_key, user, math.min(deadline, time)) end
local freed, reply = {}, { 'ok' }
for _, seat in ipairs(#wanted > 0 and wanted or in_checkout) do
  local state = redis.call('HGET', seats_key, seat)
  if state == 'c:' .. booking or state == 'b:' .. booking then
    freed[#freed + 1] = seat
    reply[#reply + 1] = seat
  end
end
if #freed == 0 then return reply end
count_after_all(conduct_key, booking, actor)
free_seats(seats_key, freed)
local change = { time = time, showtime = showtime, request_id = request_id }
announce(meta_key, log_key, channel, change, {
  { type = 'seat.released', reason = reason, seats = freed, actor = actor, booking = booking },
})
return reply
