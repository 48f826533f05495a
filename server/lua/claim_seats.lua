#!lua
--[[
claim_seats: put the claim of an open booking back where the store has lost it. MongoDB is the judge:
a seat that stands free or in somebody's lock goes to the booking. A repeat changes nothing, and
neither does news that comes late, when the booking's seats were booked or released already.
KEYS: seats_key meta_key locks_key deadlines_key checkouts_key log_key channel ended_key
ARGV: showtime user booking deadline request_id wanted...
Returns: ok | conflict (seats of other bookings) | rebuild
Emits: seat.locked
]]
--- @include now
--- @include take_seats
--- @include mark_seats
--- @include open_checkout
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
if redis.call('EXISTS', ended_key) == 1 then return { 'ok' } end
local take, conflict = take_seats(seats_key, locks_key, deadlines_key, showtime, booking, wanted)
if conflict then return conflict end
if #take == 0 then return { 'ok' } end
mark_seats(seats_key, take, 'c:' .. booking)
open_checkout(locks_key, checkouts_key, showtime, booking, user, deadline, wanted)
local change = { time = now(), showtime = showtime, request_id = request_id }
announce(meta_key, log_key, channel, change, {
  { type = 'seat.locked', seats = take, expires_at = tonumber(deadline), owner = user, booking = booking },
})
return { 'ok' }
