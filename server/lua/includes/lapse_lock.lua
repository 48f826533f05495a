--- @include save_lock
--- @include free_seats
--- @include spend_time
--- Releases a whole lock that is past its deadline and returns its event.
local function lapse_lock(seats_key, locks_key, deadlines_key, conduct_key, showtime, lock)
  local event = {
    type = 'seat.released', reason = 'expired', seats = lock.seats, owner = lock.user, lock = lock.id,
  }
  free_seats(seats_key, lock.seats)
  lock.seats = {}
  save_lock(locks_key, deadlines_key, showtime, lock)
  spend_time(conduct_key, lock.user, lock.deadline)
  return event
end
