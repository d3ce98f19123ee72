package retry

import "github.com/redis/go-redis/v9"

// prelude is the start of every script below.
//
// KEYS[1] due      sorted set, id → time it is due (ms since the epoch)
// KEYS[2] dead     sorted set, id → time it died (ms)
// KEYS[3] records  hash, id → failures, a space, reason of the last failure; for each member of due and dead
//
// ARGV[1] now (ms), 0 for Redis's clock
const prelude = `
local DUE, DEAD, RECORDS = KEYS[1], KEYS[2], KEYS[3]
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function failures(id)
  local record = redis.call('HGET', RECORDS, id)
  return record and tonumber(string.match(record, '^%d+')) or -1
end
`

// scheduleScript notes a failure.
//
// KEYS as in prelude; ARGV[2] id, ARGV[3] failures so far, ARGV[4] most failures, ARGV[5] delay (ms), ARGV[6] reason,
// ARGV[7] most dead items. A failure that is noted already, or an older one, changes nothing.
//
// Returns {time it is due or died (ms), 1 if dead else 0}.
var scheduleScript = redis.NewScript(prelude + `
local id, failed = ARGV[2], tonumber(ARGV[3])
if failed > failures(id) then
  redis.call('HSET', RECORDS, id, ARGV[3] .. ' ' .. ARGV[6])
  if failed < tonumber(ARGV[4]) then
    redis.call('ZADD', DUE, now + ARGV[5], id)
    redis.call('ZREM', DEAD, id)
  else
    redis.call('ZREM', DUE, id)
    redis.call('ZADD', DEAD, now, id)
    local excess = redis.call('ZCARD', DEAD) - ARGV[7]
    if excess > 0 then
      local oldest = redis.call('ZPOPMIN', DEAD, excess)
      for i = 1, #oldest, 2 do redis.call('HDEL', RECORDS, oldest[i]) end
    end
  end
end
local due = redis.call('ZSCORE', DUE, id)
if due then return {tonumber(due), 0} end
return {tonumber(redis.call('ZSCORE', DEAD, id) or now), 1}
`)

// dueScript hands out what is due and hides it for a while.
//
// KEYS as in prelude; ARGV[2] most items, ARGV[3] visibility (ms). Returns {id, time it was due (ms), record, …}.
var dueScript = redis.NewScript(prelude + `
local found = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local items = {}
for i = 1, #found, 2 do
  redis.call('ZADD', DUE, now + ARGV[3], found[i])
  items[#items + 1] = found[i]
  items[#items + 1] = tonumber(found[i + 1])
  items[#items + 1] = redis.call('HGET', RECORDS, found[i])
end
return items
`)

// doneScript forgets an item. KEYS as in prelude; ARGV[2] id. Returns 1, or 0 when it was unknown.
var doneScript = redis.NewScript(prelude + `
redis.call('ZREM', DUE, ARGV[2])
redis.call('ZREM', DEAD, ARGV[2])
return redis.call('HDEL', RECORDS, ARGV[2])
`)

// deadScript lists the dead, latest first. KEYS as in prelude; ARGV[2] most items.
//
// Returns {id, time it died (ms), record, …}.
var deadScript = redis.NewScript(prelude + `
local found = redis.call('ZREVRANGE', DEAD, 0, ARGV[2] - 1, 'WITHSCORES')
local items = {}
for i = 1, #found, 2 do
  items[#items + 1] = found[i]
  items[#items + 1] = tonumber(found[i + 1])
  items[#items + 1] = redis.call('HGET', RECORDS, found[i])
end
return items
`)

// requeueScript gives a dead item all its attempts again, due now. KEYS as in prelude; ARGV[2] id.
//
// Returns 1, or 0 when it is not dead.
var requeueScript = redis.NewScript(prelude + `
if redis.call('ZREM', DEAD, ARGV[2]) == 0 then return 0 end
local record = redis.call('HGET', RECORDS, ARGV[2])
redis.call('HSET', RECORDS, ARGV[2], '0' .. string.gsub(record, '^%d+', ''))
redis.call('ZADD', DUE, now, ARGV[2])
return 1
`)

// restoreScript puts back items that are unknown or dead.
//
// KEYS as in prelude; ARGV[2…] id, time it is due (ms), record of each. Returns how many were put back.
var restoreScript = redis.NewScript(prelude + `
local restored = 0
for i = 2, #ARGV, 3 do
  if not redis.call('ZSCORE', DUE, ARGV[i]) then
    redis.call('ZREM', DEAD, ARGV[i])
    redis.call('HSET', RECORDS, ARGV[i], ARGV[i + 2])
    redis.call('ZADD', DUE, ARGV[i + 1], ARGV[i])
    restored = restored + 1
  end
end
return restored
`)
