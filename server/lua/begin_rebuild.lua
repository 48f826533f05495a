#!lua
--[[
begin_rebuild: take the sole right to load a showtime whose epoch is missing or is the stale one.
A stale epoch ends here, so that nothing changes while MongoDB is read. A repeat answers alike.
KEYS: meta_key rebuild_key
ARGV: token stale_epoch lease_ms
Returns: ok | loaded | busy
Emits: nothing
]]
local epoch = redis.call('HGET', meta_key, 'epoch')
if epoch and epoch ~= stale_epoch then return { 'loaded' } end
local holder = redis.call('GET', rebuild_key)
if holder and holder ~= token then return { 'busy' } end
redis.call('SET', rebuild_key, token, 'PX', lease_ms)
redis.call('DEL', meta_key)
return { 'ok' }
