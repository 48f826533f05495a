--- Frees seats whatever they were; a thousand fields a call, for Lua's stack is finite.
local function free_seats(seats_key, seats)
  for first = 1, #seats, 1000 do
    redis.call('HDEL', seats_key, unpack(seats, first, math.min(first + 999, #seats)))
  end
end
