-- Token buckets: judges many requests at once, in the order in which they arrived.
--
-- A bucket is kept as its debt: the tokens that were spent and have not come back yet, and the moment for which that
-- is true. In units of one millionth of a token and of microseconds, `rate` tokens a second is exactly `rate` units a
-- microsecond, so whole rates and costs are computed in integers below 2^53 and never rounded.
--
-- The invariants, at every moment of Redis's clock:
--   I1  0 <= debt <= burst after every spending, so in any span of t seconds at most burst + rate * t tokens are spent.
--   I2  Debt falls by `rate` a second until it is 0, whether or not anybody looks.
--   I3  No key means no debt: a key expires no sooner than its debt is gone, so forgetting it changes nothing.
--   I4  A request spends from all of its buckets or from none.
--   I5  Requests are judged in the order given: what an earlier one spent is not there for a later one.
--
-- KEYS     each bucket that the requests name, once; all in one hash slot on a cluster
-- ARGV[1]  MessagePack {rates, bursts, checks}: per key its tokens a second and its size in tokens; per request three
--          integers in a row: the index of its address's bucket in KEYS or 0, that of its API key's bucket, and how
--          many tokens it wants of the latter. Of the former it wants one.
-- Returns  MessagePack {now, verdicts}: Redis's clock in microseconds, and per request four integers in a row: who
--          refused (0 nobody, 1 the address's bucket, 2 the key's, 3 both), in how many microseconds the request could
--          pass if nobody else spent (0 if it passed), and the whole tokens left in the two buckets.

local UNIT = 1000000
local FETCH = 4000 -- Lua's unpack fails near 8,000 values
local NEVER = 1e12 -- stands for the infinite wait and life of a bucket with rate 0

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local request = cmsgpack.unpack(ARGV[1])
local rates, bursts, checks = request[1], request[2], request[3]

-- What each bucket owes now (I2). A missing key owes nothing (I3). Should the clock have gone back, as after a failover
-- to a replica with another one, nothing is refilled until it has caught up: I1 holds on either clock.
local debts = {}
for first = 1, #KEYS, FETCH do
  local last = math.min(first + FETCH - 1, #KEYS)
  local found = redis.call('MGET', unpack(KEYS, first, last))
  for i = first, last do
    local owed, as_of = string.match(found[i - first + 1] or '', '^(%S+) (%d+)$')
    debts[i] = owed and math.max(0, tonumber(owed) - rates[i] * math.max(0, now - tonumber(as_of))) or 0
  end
end

local function left(i)
  return math.max(0, math.floor((bursts[i] * UNIT - debts[i]) / UNIT))
end

local changed, verdicts, n = {}, {}, 0
for c = 1, #checks, 3 do -- in order (I5)
  local ip, key, cost = checks[c], checks[c + 1], checks[c + 2] * UNIT
  -- By how much either bucket falls short of what is wanted; 0 or less is enough.
  local key_short = debts[key] + cost - bursts[key] * UNIT
  local ip_short = ip > 0 and debts[ip] + UNIT - bursts[ip] * UNIT or 0
  local refused, wait = 0, 0
  if ip_short > 0 then
    refused, wait = 1, ip_short / rates[ip]
  end
  if key_short > 0 then
    refused, wait = refused + 2, math.max(wait, key_short / rates[key])
  end
  if refused == 0 then -- both have enough, so both are spent from (I4) and neither exceeds its burst (I1)
    debts[key] = debts[key] + cost
    changed[key] = true
    if ip > 0 then
      debts[ip] = debts[ip] + UNIT
      changed[ip] = true
    end
  end
  verdicts[n + 1] = refused
  verdicts[n + 2] = math.ceil(math.min(wait, NEVER))
  verdicts[n + 3] = ip > 0 and left(ip) or 0
  verdicts[n + 4] = left(key)
  n = n + 4
end

-- Only what was spent from is written; a bucket that merely refilled says the same as before. Its life is the time its
-- debt takes to go, rounded up (I3).
for i in pairs(changed) do
  local life = math.ceil(math.min(debts[i] / rates[i] / 1000, NEVER)) + 1
  redis.call('SET', KEYS[i], string.format('%.17g %d', debts[i], now), 'PX', life)
end

return cmsgpack.pack({ now, verdicts })
