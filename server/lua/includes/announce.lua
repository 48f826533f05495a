--- Numbers one change set, logs each of its events, publishes it. Returns what it logged: a flat list
--- of names and values per event.
--- An event is {type, seats, reason?, expires_at?} for everybody; owner, lock, booking, actor are logged only.
local function announce(meta_key, log_key, channel, change, events)
  local epoch = redis.call('HGET', meta_key, 'epoch')
  local seq = redis.call('HINCRBY', meta_key, 'seq', 1)
  local public, logged = {}, {}
  for i, event in ipairs(events) do
    public[i] = {
      type = event.type, seats = event.seats, reason = event.reason, expires_at = event.expires_at,
    }
    logged[i] = {
      'id', string.format('%s-%d-%d-%d', epoch, change.time, seq, i),
      'at', change.time, 'showtime', change.showtime, 'request_id', change.request_id or '',
      'type', event.type, 'seats', table.concat(event.seats, ','), 'reason', event.reason or '',
      'actor', event.actor or '', 'owner', event.owner or '', 'lock', event.lock or '',
      'booking', event.booking or '',
    }
    redis.call('XADD', log_key, '*', unpack(logged[i]))
  end
  local list = #public > 0 and cjson.encode(public) or '[]'
  redis.call('SPUBLISH', channel, string.format('{"epoch":"%s","seq":%d,"at":%d,"events":%s}',
    epoch, seq, change.time, list))
  return logged
end
