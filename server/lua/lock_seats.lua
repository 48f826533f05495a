#!lua
--[[
lock_seats: lock seats for one user, all or nothing; they join the user's lock if there is one.
The actor is who asks: the user, or a clerk in the user's name.
Whatever lapsed lock stands in the way is released first, whole. Who has held seats long enough without
buying has to wait for a new lock (cooling); so has who comes from an address that has seats enough.
KEYS: seats_key meta_key locks_key deadlines_key log_key channel conduct_key
ARGV: showtime user actor lock_id ttl_ms max_seats patience_ms address max_at_address request_id wanted...
Returns: ok (logged, lock) | unavailable (now, then seat, state, retry_ms each) | seat_limit (limit) | cooling (ms) | crowded (ms) | closed | rebuild
Emits: seat.released seat.locked
]]
--- @include now
--- @include open_epoch
--- @include load_lock
--- @include save_lock
--- @include mark_seats
--- @include lapse_lock
--- @include cool_down
--- @include crowd
--- @include keep_conduct
--- @include lock_reply
--- @include announce
--- @include recent_log
local time = now()
local epoch, refusal = open_epoch(meta_key, time)
if not epoch then return { refusal } end

local lapsed, fresh, taken = {}, {}, { 'unavailable', time }
local function refuse(seat, state, retry_ms)
  taken[#taken + 1], taken[#taken + 2], taken[#taken + 3] = seat, state, retry_ms
end
local mine = load_lock(locks_key, user)
if mine and mine.deadline <= time then lapsed[user], mine = mine, nil end
local record, listed = unpack(redis.call('HMGET', conduct_key, 'u:' .. user, 'a:' .. address))
local spent, counted, early_ms = cool_down(record, time, lapsed[user], patience_ms)
if not mine and early_ms > 0 then return { 'cooling', early_ms } end
local states = redis.call('HMGET', seats_key, unpack(wanted))
for i, seat in ipairs(wanted) do
  local kind, holder = (states[i] or ''):sub(1, 1), (states[i] or ''):sub(3)
  if kind == '' or (kind == 'l' and lapsed[holder]) then
    fresh[#fresh + 1] = seat
  elseif kind == 'l' and holder ~= user then
    local lock = load_lock(locks_key, holder)
    if lock.deadline > time then
      refuse(seat, 'locked', lock.deadline - time)
    else
      lapsed[holder] = lock
      fresh[#fresh + 1] = seat
    end
  elseif kind == 'c' then
    local deadline = (redis.call('HGET', locks_key, 'b:' .. holder) or '- 0'):match('^%S+ (%d+)')
    refuse(seat, 'locked', math.max(0, deadline - time))
  elseif kind ~= 'l' then
    refuse(seat, kind == 'b' and 'booked' or 'blocked', -1)
  end
end
if #taken > 2 then return taken end
local in_checkouts = (redis.call('HGET', locks_key, 'n:' .. user) or 0) + 0
local held = (mine and #mine.seats or 0) + in_checkouts
if #fresh > 0 and held + #fresh > tonumber(max_seats) then return { 'seat_limit', tonumber(max_seats) } end
if #fresh == 0 then return lock_reply(mine, time, recent_log(log_key, showtime, user)) end
local others, theirs, wait_ms = crowd(locks_key, listed, user, time, ttl_ms)
if address ~= '' and theirs + held + #fresh > tonumber(max_at_address) then return { 'crowded', wait_ms } end

local events = {}
for _, lock in pairs(lapsed) do
  events[#events + 1] = lapse_lock(seats_key, locks_key, deadlines_key, conduct_key, showtime, lock)
end
if in_checkouts == 0 then counted = time end
keep_conduct(conduct_key, patience_ms, user, not mine and spent, counted, address, others)
mine = mine or {
  user = user, id = lock_id, deadline = time + ttl_ms, extensions = 0, operation = '-', seats = {},
}
mark_seats(seats_key, fresh, 'l:' .. user)
for _, seat in ipairs(fresh) do mine.seats[#mine.seats + 1] = seat end
save_lock(locks_key, deadlines_key, showtime, mine)
events[#events + 1] = {
  type = 'seat.locked', seats = fresh, expires_at = mine.deadline, actor = actor, owner = user, lock = mine.id,
}
local change = { time = time, showtime = showtime, request_id = request_id }
local logged = announce(meta_key, log_key, channel, change, events)
for _, before in ipairs(#fresh < #wanted and recent_log(log_key, showtime, user) or {}) do
  logged[#logged + 1] = before -- some were the user's already: by an earlier run, perhaps
end
return lock_reply(mine, time, logged)
