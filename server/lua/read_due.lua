#!lua flags=no-writes
--[[
read_due: name the members of a deadline queue whose time has come, oldest first.
KEYS: queue_key
ARGV: limit
Returns: ok (members)
Emits: nothing
]]
--- @include now
return { 'ok', unpack(redis.call('ZRANGEBYSCORE', queue_key, '-inf', now(), 'LIMIT', 0, limit)) }
