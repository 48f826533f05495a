#!lua
--[[
close_showtime: end the sale of a showtime for good, as of now; what is locked or booked stays. A
repeat changes nothing.
KEYS: meta_key
Returns: ok | rebuild
Emits: nothing
]]
if redis.call('HEXISTS', meta_key, 'epoch') == 0 then return { 'rebuild' } end
redis.call('HSET', meta_key, 'closes_at', 0)
return { 'ok' }
