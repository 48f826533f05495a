--- Returns {'ok', logged, time, id, deadline, extensions, seat, ...}; {'ok', logged, time} when there
--- is no lock. `logged` is what this run has put into the log.
local function lock_reply(lock, time, logged)
  local reply = { 'ok', logged or {}, time }
  if not lock or #lock.seats == 0 then return reply end
  reply[4], reply[5], reply[6] = lock.id, lock.deadline, lock.extensions
  for _, seat in ipairs(lock.seats) do reply[#reply + 1] = seat end
  return reply
end
