-- Puts a whole live window, and the fences that belong to it, in the place of what is there.
--
-- KEYS[1..f]      fences of all partitions of one pipeline
-- KEYS[..2h]      then for each hash of the new window: its staged key, its live key
-- KEYS[..n]       then live keys of the window that the new one has no events for
-- ARGV[1]         f    ARGV[2]  h    ARGV[3]  seconds that an untouched fence lives
-- ARGV[4..]       f offsets, the fences' values
-- then for each hash: how many events it must have, and the epoch second at which it expires
--
-- Returns 1, or 0 where a staged hash is not whole: then nothing was changed.
--
-- The invariant of live_counters.lua (counts = deltas of all stored slices before the fences) holds afterwards because
-- counts and fences are those of ONE snapshot of SQL, and because nothing of what was there before remains: neither a
-- hash nor a fence. It does not matter which slices others have applied between the snapshot and this script: they are
-- undone, hashes and fences alike, and their appliers find the fence behind and catch up from the outbox. Nor does it
-- matter whether an older snapshot replaces a newer one: the state is older, not wrong.
--
-- Hashes are staged beforehand, in pieces, under keys that nobody reads; here they are only renamed. So the script's
-- time does not grow with the number of event names, and no other client waits for a rebuild.

local fences, hashes, life = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local sizes = 3 + fences

-- First look, then touch: a staged hash may have expired, or Redis may have restarted since it was written. A script
-- that fails half-way is not undone, so nothing may be changed before all of it is known to be there.
for hash = 1, hashes do
  if redis.call('HLEN', KEYS[fences + 2 * hash - 1]) ~= tonumber(ARGV[sizes + 2 * hash - 1]) then
    return 0
  end
end

-- Seconds that SQL knows nothing of must count nothing. UNLINK frees their memory elsewhere.
for key = fences + 2 * hashes + 1, #KEYS do
  redis.call('UNLINK', KEYS[key])
end

-- Each staged hash becomes the second's hash, with the second's own time to expire. The old one is unlinked first,
-- because RENAME would free it here and now.
for hash = 1, hashes do
  local staged, live = KEYS[fences + 2 * hash - 1], KEYS[fences + 2 * hash]
  redis.call('UNLINK', live)
  redis.call('RENAME', staged, live)
  redis.call('EXPIREAT', live, ARGV[sizes + 2 * hash])
end

-- The fences of every partition, those of other processes too: a fence that stayed would speak for hashes that are gone.
for fence = 1, fences do
  redis.call('SET', KEYS[fence], ARGV[3 + fence], 'EX', life)
end
return 1
