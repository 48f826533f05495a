--- @include load_lock
--- @include save_lock
--- @include drop_seats
--- Takes the wanted seats out of whatever locks they are in, for a booking that MongoDB has judged
--- to own them. Returns those that did not yet carry its id; or nil and {'conflict', seat, ...} when
--- other bookings have some, and then nothing was written.
local function take_seats(seats_key, locks_key, deadlines_key, showtime, booking, wanted)
  local by_user, take, conflict = {}, {}, { 'conflict' }
  local states = redis.call('HMGET', seats_key, unpack(wanted))
  for i, seat in ipairs(wanted) do
    local kind, holder = (states[i] or ''):sub(1, 1), (states[i] or ''):sub(3)
    if (kind == 'c' or kind == 'b') and holder ~= booking then
      conflict[#conflict + 1] = seat
    elseif kind == 'l' then
      by_user[holder] = by_user[holder] or {}
      by_user[holder][seat] = true
    end
    if holder ~= booking then take[#take + 1] = seat end
  end
  if #conflict > 1 then return nil, conflict end
  for user, dropped in pairs(by_user) do
    local lock = load_lock(locks_key, user)
    drop_seats(lock, dropped)
    save_lock(locks_key, deadlines_key, showtime, lock)
  end
  return take
end
