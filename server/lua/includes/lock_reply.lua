--- Returns {'ok', time, id, deadline, extensions, seat, ...}; {'ok', time} when there is no lock.
local function lock_reply(lock, time)
  local reply = { 'ok', time }
  if not lock or #lock.seats == 0 then return reply end
  reply[3], reply[4], reply[5] = lock.id, lock.deadline, lock.extensions
  for _, seat in ipairs(lock.seats) do reply[#reply + 1] = seat end
  return reply
end
