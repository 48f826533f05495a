#!lua
--[[
take_tokens: take tokens from all of the named buckets, or from none. A bucket is the moment at which
it will be full again, and is gone from then on. Of each bucket `buckets` says how many tokens it
holds and in how many ms one comes back. A repeat takes again.
KEYS: first_key second_key third_key
ARGV: wanted buckets...
Returns: ok (per bucket: tokens left, ms until it is full) | limited (ms to wait, then the same)
Emits: nothing
]]
--- @include now
local time, full, wait = now(), {}, 0
local keys = { first_key, second_key, third_key }
for i = 1, #buckets / 2 do
  local bucket_key = keys[i]
  local holds, pace = tonumber(buckets[2 * i - 1]), tonumber(buckets[2 * i])
  local before = math.max(time, tonumber(redis.call('GET', bucket_key) or 0))
  full[i] = { key = bucket_key, before = before, after = before + wanted * pace, holds = holds, pace = pace }
  wait = math.max(wait, full[i].after - time - holds * pace)
end

local reply = { 'ok' }
if wait > 0 then reply = { 'limited', math.ceil(wait) } end
for _, bucket in ipairs(full) do
  local moment, bucket_key = bucket.before, bucket.key
  if wait == 0 then
    moment = bucket.after
    redis.call('SET', bucket_key, string.format('%.3f', moment), 'PX', math.ceil(moment - time))
  end
  reply[#reply + 1] = math.floor(bucket.holds - (moment - time) / bucket.pace)
  reply[#reply + 1] = math.ceil(moment - time)
end
return reply
