--- Takes the seats that `dropped` names (seat -> true) out of the lock and returns them in its order.
local function drop_seats(lock, dropped)
  local kept, taken = {}, {}
  for _, seat in ipairs(lock.seats) do
    local list = dropped[seat] and taken or kept
    list[#list + 1] = seat
  end
  lock.seats = kept
  return taken
end
