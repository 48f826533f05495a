#!lua flags=no-writes
--[[
read_locks: every live lock of a showtime.
KEYS: meta_key locks_key
Returns: ok (now, then per lock {user, id, deadline, extensions, seat, ...}) | rebuild
Emits: nothing
]]
--- @include now
--- @include load_lock
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
local reply = { 'ok', now() }
for _, field in ipairs(redis.call('HKEYS', locks_key)) do
  local user = field:match('^u:(.+)$')
  local lock = user and load_lock(locks_key, user)
  if lock and lock.deadline > reply[2] then
    reply[#reply + 1] = { user, lock.id, lock.deadline, lock.extensions, unpack(lock.seats) }
  end
end
return reply
