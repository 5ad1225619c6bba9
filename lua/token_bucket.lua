-- Token buckets and quotas: judges many requests at once, in the order in which they arrived.
--
-- A bucket is kept as its debt: the tokens that were spent and have not come back yet, and the moment for which that
-- is true. In units of one millionth of a token and of microseconds, `rate` tokens a second is exactly `rate` units a
-- microsecond, so whole rates and costs are computed in integers below 2^53 and never rounded.
--
-- A tenant's usage is kept as the events that passed in a day and in a month of UTC: `<day> <used> <month> <used>`,
-- days counted from 1970-01-01 and months from January of the year 0.
--
-- The invariants, at every moment of Redis's clock:
--   I1  0 <= debt <= burst after every spending, so in any span of t seconds at most burst + rate * t tokens are spent.
--   I2  Debt falls by `rate` a second until it is 0, whether or not anybody looks.
--   I3  No key means no debt and no usage: a key expires no sooner than its debt is gone or its month is over, so
--       forgetting it changes nothing.
--   I4  A request spends from all of its buckets and from its quota, or from none of them.
--   I5  Requests are judged in the order given: what an earlier one spent is not there for a later one.
--   I6  Usage never falls within its day or month.
--   I7  No request takes usage above its quota; only a floor does, which says what has passed without being counted.
--
-- KEYS     each bucket that the requests name, once, then each usage; all in one hash slot on a cluster
-- ARGV[1]  MessagePack {rates, bursts, checks, quotas, floors}: per bucket its tokens a second and its size in tokens;
--          per request four integers in a row: the index of its address's bucket in KEYS or 0, that of its API key's
--          bucket, how many tokens it wants of the latter and events of its quota, and the index of its usage among
--          the usages or 0. Of its address's bucket it wants one token. Per usage the quota of a day and that of a
--          month, 0 for none, and, where there are floors at all, a day, what is used of it at least, a month, and the
--          same of that.
-- Returns  MessagePack {now, verdicts}: Redis's clock in microseconds, and per request five integers in a row: who
--          refused (0 nobody, 1 the address's bucket, 2 the key's, 3 both; 4 the day's quota, 8 the month's, 12 both,
--          and then no bucket was asked), in how many microseconds the request could pass if nobody else spent (0 if
--          it passed), in how many one that wants a single token could (0 if it passed or if one could now), and the
--          whole tokens left in the two buckets. Where a quota refused these are 0 and the events left of it, or of
--          the month's if both did.

local UNIT = 1000000
local DAY = 86400 * UNIT
local FETCH = 4000 -- Lua's unpack fails near 8,000 values
local NEVER = 1e12 -- stands for the infinite wait and life of a bucket with rate 0

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local request = cmsgpack.unpack(ARGV[1])
local rates, bursts, checks, quotas, floors = request[1], request[2], request[3], request[4], request[5]

-- What each bucket owes now (I2). A missing key owes nothing (I3). Should the clock have gone back, as after a failover
-- to a replica with another one, nothing is refilled until it has caught up: I1 holds on either clock.
local buckets, debts, usages = #rates, {}, {}
for first = 1, #KEYS, FETCH do
  local last = math.min(first + FETCH - 1, #KEYS)
  local found = redis.call('MGET', unpack(KEYS, first, last))
  for i = first, last do
    local text = found[i - first + 1] or ''
    if i <= buckets then
      local owed, as_of = string.match(text, '^(%S+) (%d+)$')
      debts[i] = owed and math.max(0, tonumber(owed) - rates[i] * math.max(0, now - tonumber(as_of))) or 0
    else
      usages[i - buckets] = text
    end
  end
end

-- The first day of a month, by a calendar whose years begin in March, so that a leap day is the last of its year
-- (Howard Hinnant, days_from_civil).
local function first_day(month)
  local year = math.floor((month - 2) / 12)
  local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return year * 365 + leap_days + math.floor((153 * (month - 2 - year * 12) + 2) / 5) - 719468
end

local function month_of(day)
  local month = math.floor((day + 719468) / 30.436875) + 2 -- by their mean length: one off at most
  while first_day(month) > day do
    month = month - 1
  end
  while first_day(month + 1) <= day do
    month = month + 1
  end
  return month
end

-- What counts of a usage now. A day or month that is over counts for nothing. The next one, which is there where the
-- clock has gone back, goes on; one that is further off was not written by this script.
local spent = {}
if #usages > 0 then
  local today = math.floor(now / DAY)
  local this_month = month_of(today)
  for u, text in ipairs(usages) do
    local usage = { today, 0, this_month, 0 }
    local day, daily, month, monthly = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
    day, month = tonumber(day), tonumber(month)
    if day and day >= today and day <= today + 1 then
      usage[1], usage[2] = day, tonumber(daily)
    end
    if month and month >= this_month and month <= this_month + 1 then
      usage[3], usage[4] = month, tonumber(monthly)
    end
    if floors then
      local day_floor, daily_floor, month_floor, monthly_floor = unpack(floors, 4 * u - 3, 4 * u)
      usage[2] = math.max(usage[2], day_floor == usage[1] and daily_floor or 0)
      usage[4] = math.max(usage[4], month_floor == usage[3] and monthly_floor or 0)
      spent[u] = true
    end
    usages[u] = usage
  end
end

local function left(i)
  return math.max(0, math.floor((bursts[i] * UNIT - debts[i]) / UNIT))
end

-- The verdict of a quota: who refuses, how long the request waits, how long one event does, and what is left.
local function judge_quota(u, events)
  local usage, of_day, of_month = usages[u], quotas[2 * u - 1], quotas[2 * u]
  local refused, wait, empty, remains = 0, 0, 0, 0
  if of_day > 0 and usage[2] + events > of_day then
    refused, wait, remains = 4, (usage[1] + 1) * DAY - now, math.max(0, of_day - usage[2])
    empty = remains == 0 and wait or 0
  end
  if of_month > 0 and usage[4] + events > of_month then
    refused, wait = refused + 8, first_day(usage[3] + 1) * DAY - now
    remains = math.max(0, of_month - usage[4])
    empty = remains == 0 and wait or empty
  end
  return refused, wait, empty, remains
end

local changed, verdicts, n = {}, {}, 0
for c = 1, #checks, 4 do -- in order (I5)
  local ip, key, events, u = checks[c], checks[c + 1], checks[c + 2], checks[c + 3]
  local refused, wait, empty, remains = 0, 0, 0, 0
  if u > 0 then
    refused, wait, empty, remains = judge_quota(u, events)
  end
  if refused == 0 then
    local cost = events * UNIT
    -- By how much either bucket falls short of what is wanted; 0 or less is enough.
    local key_short = debts[key] + cost - bursts[key] * UNIT
    local ip_short = ip > 0 and debts[ip] + UNIT - bursts[ip] * UNIT or 0
    if ip_short > 0 then
      refused, wait, empty = 1, ip_short / rates[ip], ip_short / rates[ip]
    end
    if key_short > 0 then
      refused, wait = refused + 2, math.max(wait, key_short / rates[key])
      local one_short = key_short - cost + UNIT
      if one_short > 0 then
        empty = math.max(empty, one_short / rates[key])
      end
    end
    wait, empty = math.ceil(math.min(wait, NEVER)), math.ceil(math.min(empty, NEVER))
    if refused == 0 then -- all have enough, so all are spent from (I4) and none exceeds its burst or quota (I1, I7)
      debts[key] = debts[key] + cost
      changed[key] = true
      if ip > 0 then
        debts[ip] = debts[ip] + UNIT
        changed[ip] = true
      end
      if u > 0 then
        usages[u][2], usages[u][4] = usages[u][2] + events, usages[u][4] + events
        spent[u] = true
      end
    end
    remains = left(key)
  else
    ip = 0
  end
  verdicts[n + 1] = refused
  verdicts[n + 2] = wait
  verdicts[n + 3] = empty
  verdicts[n + 4] = ip > 0 and left(ip) or 0
  verdicts[n + 5] = remains
  n = n + 5
end

-- Only what was spent from is written; a bucket that merely refilled says the same as before. Its life is the time its
-- debt takes to go, rounded up (I3).
for i in pairs(changed) do
  local life = math.ceil(math.min(debts[i] / rates[i] / 1000, NEVER)) + 1
  redis.call('SET', KEYS[i], string.format('%.17g %d', debts[i], now), 'PX', life)
end

-- A usage outlives its month by a day, which is more than clocks differ.
for u in pairs(spent) do
  local usage = usages[u]
  local life = math.ceil(((first_day(usage[3] + 1) + 1) * DAY - now) / 1000)
  redis.call('SET', KEYS[buckets + u], string.format('%d %d %d %d', unpack(usage)), 'PX', life)
end

return cmsgpack.pack({ now, verdicts })
