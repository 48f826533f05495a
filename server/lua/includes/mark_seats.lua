--- Gives seats one state; five hundred fields a call, for Lua's stack is finite.
local function mark_seats(seats_key, seats, state)
  for first = 1, #seats, 500 do
    local fields = {}
    for i = first, math.min(first + 499, #seats) do
      fields[#fields + 1] = seats[i]
      fields[#fields + 1] = state
    end
    redis.call('HSET', seats_key, unpack(fields))
  end
end
