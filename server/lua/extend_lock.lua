#!lua
--[[
extend_lock: give a live lock a fresh deadline, a limited number of times. A repeat of the same
operation answers as the first run did.
KEYS: meta_key locks_key deadlines_key log_key channel
ARGV: showtime user ttl_ms max_extensions operation request_id
Returns: ok (logged, lock) | lapsed | extension_limit | closed | rebuild
Emits: seat.locked
]]
--- @include now
--- @include open_epoch
--- @include load_lock
--- @include save_lock
--- @include lock_reply
--- @include announce
--- @include recent_log
local time = now()
local epoch, refusal = open_epoch(meta_key, time)
if not epoch then return { refusal } end
local lock = load_lock(locks_key, user)
if not lock or lock.deadline <= time then return { 'lapsed' } end
if lock.operation == operation then
  return lock_reply(lock, time, recent_log(log_key, showtime, user))
end
if lock.extensions >= tonumber(max_extensions) then return { 'extension_limit' } end

lock.deadline, lock.extensions, lock.operation = time + ttl_ms, lock.extensions + 1, operation
save_lock(locks_key, deadlines_key, showtime, lock)
local change = { time = time, showtime = showtime, request_id = request_id }
local logged = announce(meta_key, log_key, channel, change, {
  {
    type = 'seat.locked', seats = lock.seats, expires_at = lock.deadline,
    actor = user, owner = user, lock = lock.id,
  },
})
return lock_reply(lock, time, logged)
