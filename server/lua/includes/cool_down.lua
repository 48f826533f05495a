--- Returns how many ms of seats' time a user has spent without buying, and until when that is counted;
--- and how many ms too early a lock would begin now. `lapsed` is a lock that is over and not counted yet,
--- or nil. Two lives of a lock are free; then the pause is a tenth of one, doubled with each
--- further life, six at most. Who kept away for twelve lives begins anew. No patience (0) is no limit.
local function cool_down(record, time, lapsed, patience_ms)
  local life = tonumber(patience_ms)
  local spent, counted = (record or ''):match('^(%d+) (%d+)$')
  if life == 0 or not spent or time - counted >= life * 12 then return 0, time, 0 end
  spent, counted = tonumber(spent), tonumber(counted)
  local ended = math.max(counted, lapsed and lapsed.deadline or 0)
  spent, counted = spent + ended - counted, ended
  local lives = math.floor(spent / life)
  local pause = lives < 2 and 0 or math.min(life * 6, math.floor(life / 10) * 2 ^ (lives - 2))
  return spent, counted, math.max(0, counted + pause - time)
end
