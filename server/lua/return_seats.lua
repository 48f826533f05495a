#!lua
--[[
return_seats: free some seats of a booking that keeps others, if they still carry its id. A repeat
changes nothing. For an hour it is remembered that they were given back: news of the booking as it
was before must not take them again.
KEYS: seats_key meta_key log_key channel ended_key conduct_key
ARGV: showtime booking reason actor request_id wanted...
Returns: ok (freed seats) | rebuild
Emits: seat.released
]]
--- @include now
--- @include free_seats
--- @include count_after_all
--- @include announce
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
for _, seat in ipairs(wanted) do redis.call('HSET', ended_key, seat, reason) end
redis.call('PEXPIRE', ended_key, 3600000)
local freed, reply = {}, { 'ok' }
local states = redis.call('HMGET', seats_key, unpack(wanted))
for i, seat in ipairs(wanted) do
  if states[i] == 'c:' .. booking or states[i] == 'b:' .. booking then
    freed[#freed + 1] = seat
    reply[#reply + 1] = seat
  end
end
if #freed == 0 then return reply end
count_after_all(conduct_key, booking, actor)
free_seats(seats_key, freed)
local change = { time = now(), showtime = showtime, request_id = request_id }
announce(meta_key, log_key, channel, change, {
  { type = 'seat.released', reason = reason, seats = freed, actor = actor, booking = booking },
})
return reply
