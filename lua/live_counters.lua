-- Applies the deltas of one stored slice to the live counters, exactly once, or says where the fence is.
--
-- KEYS[1]     fence of the slice's partition: the next source offset whose deltas are not yet counted
-- KEYS[2..n]  live hashes (event -> count), one for each second of receipt that the slice has events of
-- ARGV[1]     offset at which the slice begins      ARGV[2]  offset after its end
-- ARGV[3]     seconds that an untouched fence lives
-- then for each live hash: the epoch second at which it expires, how many events follow, and event, count, ...
--
-- Returns the fence as it is afterwards: ARGV[2] if the slice was counted, now or before; nil if there is none.
--
-- The invariant, for a pipeline as a whole: what the live hashes count = the sum of the deltas of all stored slices
-- that end at or before their partition's fence. Every line below keeps it.

-- The fence is read and moved inside one script, and Redis runs one script at a time: of two processes that bring the
-- same slice, the second finds the fence moved.
local fence = redis.call('GET', KEYS[1])

-- No fence: Redis lost its memory, or never had one. How much of the past the hashes count is unknown, so nothing may
-- be added; the caller rebuilds the window from SQL.
if not fence then
  return nil
end

-- Offsets are compared as text, which is exact: both were printed by the same rule, and a Lua number is not exact
-- beyond 2^53. A fence beyond the slice means that it was counted before; a fence behind it means that slices between
-- are missing, and adding this one would count a later offset before an earlier one. Either way nothing is added, and
-- the caller sees which it is.
if fence ~= ARGV[1] then
  return fence
end

-- The fence is where the slice begins: all before is counted, nothing of the slice is. Count it whole ...
local at = 4
for key = 2, #KEYS do
  local expires, events = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, events do
    redis.call('HINCRBY', KEYS[key], ARGV[at], ARGV[at + 1])
    at = at + 2
  end
  -- ... in hashes that leave the window at a time fixed by their second, whenever they are written: a late delta
  -- cannot keep a second alive, and one whose second has already left is deleted again at once.
  redis.call('EXPIREAT', KEYS[key], expires)
end

-- ... and move the fence to its end, in the same script: no reader and no crash sees one without the other. The fence
-- outlives every hash that it speaks for, so that hashes without a fence are only ever those of a lost memory.
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
