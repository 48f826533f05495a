#!lua flags=no-writes
--[[
read_lock: the user's live lock.
KEYS: meta_key locks_key
ARGV: user
Returns: ok (lock; nothing but the time when there is none) | rebuild
Emits: nothing
]]
--- @include now
--- @include load_lock
--- @include lock_reply
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
local time = now()
local lock = load_lock(locks_key, user)
if lock and lock.deadline <= time then lock = nil end
return lock_reply(lock, time)
