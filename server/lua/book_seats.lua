#!lua
--[[
book_seats: mark the seats of a confirmed booking as booked. MongoDB is the judge: a seat that stands
free or in somebody's lock goes to the booking. A repeat changes nothing, and neither does news that
comes late: when the booking was cancelled (nothing else ends a confirmed one), or the seat given back.
KEYS: seats_key meta_key locks_key deadlines_key checkouts_key log_key channel ended_key conduct_key
ARGV: showtime user booking request_id wanted...
Returns: ok | conflict (seats of other bookings) | rebuild
Emits: seat.booked
]]
--- @include now
--- @include take_seats
--- @include mark_seats
--- @include close_checkout
--- @include set_aside
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
if redis.call('HGET', ended_key, '*') == 'cancelled' then return { 'ok' } end
local given_back = redis.call('HMGET', ended_key, unpack(wanted))
local states, unsold = redis.call('HMGET', seats_key, unpack(wanted)), {}
for i, seat in ipairs(wanted) do
  if states[i] ~= 'b:' .. booking and not given_back[i] then unsold[#unsold + 1] = seat end
end
if #unsold == 0 then
  close_checkout(locks_key, checkouts_key, showtime, booking)
  return { 'ok' }
end
local _, conflict = take_seats(seats_key, locks_key, deadlines_key, showtime, booking, unsold)
if conflict then return conflict end
mark_seats(seats_key, unsold, 'b:' .. booking)
local time, record = now(), redis.call('HGET', locks_key, 'b:' .. booking)
close_checkout(locks_key, checkouts_key, showtime, booking)
set_aside(conduct_key, locks_key, user, booking, record, time)
local change = { time = time, showtime = showtime, request_id = request_id }
announce(meta_key, log_key, channel, change, {
  { type = 'seat.booked', seats = unsold, actor = user, owner = user, booking = booking },
})
return { 'ok' }
