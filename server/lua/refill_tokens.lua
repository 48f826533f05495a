#!lua
--[[
refill_tokens: make a bucket full again.
KEYS: bucket_key
Returns: ok
Emits: nothing
]]
redis.call('DEL', bucket_key)
return { 'ok' }
