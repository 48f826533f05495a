--- Returns the epoch of a loaded showtime whose sales are open, else nil and the word to answer with.
local function open_epoch(meta_key, time)
  local epoch, closes_at = unpack(redis.call('HMGET', meta_key, 'epoch', 'closes_at'))
  if not epoch then return nil, 'rebuild' end
  if time >= tonumber(closes_at) then return nil, 'closed' end
  return epoch
end
