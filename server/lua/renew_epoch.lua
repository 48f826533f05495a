#!lua
--[[
renew_epoch: let the numbers of a showtime begin anew, all else staying as it is, so that whoever
watches it takes a new picture. For a store that has lost the last moments: its numbers run again.
A repeat under the same epoch changes nothing.
KEYS: meta_key log_key channel
ARGV: showtime epoch
Returns: ok | rebuild
Emits: nothing
]]
--- @include now
--- @include announce
local before = redis.call('HGET', meta_key, 'epoch')
if not before then return { 'rebuild' } end
if before == epoch then return { 'ok' } end
redis.call('HSET', meta_key, 'epoch', epoch, 'seq', 0)
announce(meta_key, log_key, channel, { time = now(), showtime = showtime }, {})
return { 'ok' }
