-- The generic cell rate algorithm on Redis's own clock, as gcra.rs has it: a budget is kept as the
-- point in time at which it is full again.
-- KEYS[1]: the budget. ARGV: what to do, microseconds of the whole period, and of one take.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local wish, period, interval = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = tonumber(redis.call('GET', KEYS[1]) or now)
-- A clock that is set back keeps nobody out for longer than that.
local latest = now + 2 * period
local full = math.min(math.max(kept, now), latest)
local before = full - now
local takes = wish == 'charge' or (wish == 'take' and before + interval <= period)
if takes then
    full = math.min(full + interval, latest)
end
if takes or kept > latest then
    local life = math.max(math.ceil((full - now) / 1000), 1)
    redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', life))
end
return {before, full - now}
