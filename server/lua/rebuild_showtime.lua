#!lua
--[[
rebuild_showtime: replace all that the store holds of a showtime by what MongoDB says, under a new
epoch. `projection` is JSON: {"blocked": [seat], "bookings": [{id, user, state, deadline, seats}]},
where state is "c" (claimed) or "b" (booked). Refused when the right to rebuild has been lost.
KEYS: seats_key meta_key locks_key checkouts_key log_key channel rebuild_key
ARGV: showtime token epoch closes_at projection
Returns: ok | fenced
Emits: nothing
]]
--- @include now
--- @include mark_seats
--- @include open_checkout
--- @include announce
if redis.call('GET', rebuild_key) ~= token then return { 'fenced' } end
local truth = cjson.decode(projection)
redis.call('DEL', seats_key, locks_key, meta_key, rebuild_key)
redis.call('HSET', meta_key, 'epoch', epoch, 'seq', 0, 'closes_at', closes_at)
mark_seats(seats_key, truth.blocked, 'x')
for _, booking in ipairs(truth.bookings) do
  mark_seats(seats_key, booking.seats, booking.state .. ':' .. booking.id)
  if booking.state == 'c' then
    open_checkout(locks_key, checkouts_key, showtime, booking.id, booking.user, booking.deadline, booking.seats)
  end
end
announce(meta_key, log_key, channel, { time = now(), showtime = showtime }, {})
return { 'ok' }
