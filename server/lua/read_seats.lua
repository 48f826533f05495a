#!lua flags=no-writes
--[[
read_seats: the state of every seat that is not free, unless the caller's position is still current.
A lock past its deadline still shows: its release has not been announced yet.
KEYS: seats_key meta_key
ARGV: epoch seq
Returns: ok (now, epoch, seq, then seat, state each) | same (now) | rebuild
Emits: nothing
]]
--- @include now
local current_epoch, current_seq = unpack(redis.call('HMGET', meta_key, 'epoch', 'seq'))
if not current_epoch then return { 'rebuild' } end
if current_epoch == epoch and current_seq == seq then return { 'same', now() } end
return { 'ok', now(), current_epoch, tonumber(current_seq), redis.call('HGETALL', seats_key) }
