#!lua
--[[
begin_checkout: hand seats from the user's live lock to a booking, with the deadline they have. The
map still shows them locked. A repeat for the same booking and seats answers as the first run did.
KEYS: seats_key meta_key locks_key deadlines_key checkouts_key ended_key
ARGV: showtime user booking wanted...
Returns: ok (deadline, now) | unlocked | lapsed | closed | rebuild
Emits: nothing
]]
--- @include now
--- @include open_epoch
--- @include load_lock
--- @include save_lock
--- @include drop_seats
--- @include mark_seats
--- @include open_checkout
local time = now()
local epoch, refusal = open_epoch(meta_key, time)
if not epoch then return { refusal } end
local record = redis.call('HGET', locks_key, 'b:' .. booking)
if record then
  local deadline, seats = record:match('^%S+ (%d+) (%S+)$')
  if seats ~= table.concat(wanted, ',') then return { 'unlocked' } end
  if tonumber(deadline) <= time then return { 'lapsed' } end
  return { 'ok', tonumber(deadline), time }
end
local lock = load_lock(locks_key, user)
if not lock or lock.deadline <= time then return { 'unlocked' } end
local dropped = {}
for _, seat in ipairs(wanted) do dropped[seat] = true end
if #drop_seats(lock, dropped) < #wanted then return { 'unlocked' } end

redis.call('DEL', ended_key)
mark_seats(seats_key, wanted, 'c:' .. booking)
open_checkout(locks_key, checkouts_key, showtime, booking, user, lock.deadline, wanted)
save_lock(locks_key, deadlines_key, showtime, lock)
return { 'ok', lock.deadline, time }
