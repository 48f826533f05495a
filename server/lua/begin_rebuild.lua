#!lua
--[[
begin_rebuild: take the sole right to load a showtime whose epoch is missing or is the stale one.
KEYS: meta_key rebuild_key
ARGV: token stale_epoch lease_ms
Returns: ok | loaded | busy
Emits: nothing
]]
local epoch = redis.call('HGET', meta_key, 'epoch')
if epoch and epoch ~= stale_epoch then return { 'loaded' } end
if redis.call('SET', rebuild_key, token, 'NX', 'PX', lease_ms) then return { 'ok' } end
return { 'busy' }
