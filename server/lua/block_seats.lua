#!lua
--[[
block_seats: take free seats off sale; those that are locked, claimed, booked or blocked stay as they
are. A repeat changes nothing.
KEYS: seats_key meta_key log_key channel
ARGV: showtime actor request_id wanted...
Returns: ok (blocked seats) | rebuild
Emits: seat.blocked
]]
--- @include now
--- @include mark_seats
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
local blocked, reply = {}, { 'ok' }
local states = redis.call('HMGET', seats_key, unpack(wanted))
for i, seat in ipairs(wanted) do
  if not states[i] then
    blocked[#blocked + 1] = seat
    reply[#reply + 1] = seat
  end
end
if #blocked == 0 then return reply end
mark_seats(seats_key, blocked, 'x')
announce(meta_key, log_key, channel, { time = now(), showtime = showtime, request_id = request_id }, {
  { type = 'seat.blocked', seats = blocked, actor = actor },
})
return reply
