package limiter

import "github.com/redis/go-redis/v9"

// slotsPrelude is the start of every script below: what is kept in Redis, and the steps that keep it consistent.
//
// KEYS[1] generation  run id of the Redis server that the rest was built on; missing or another: needs a rebuild
// KEYS[2] tasks       hash, task id → order, RS, group, for each task that waits or holds a slot
// KEYS[3] waiting     sorted set by bytes, members group, RS, order, RS, task id
// KEYS[4] groups      sorted set, group → order of its first waiting task
// KEYS[5] leases      sorted set, task id → end of its lease (ms since the epoch)
// KEYS[6] usage       hash, "c:" caller or "n:" namespace → slots held
// KEYS[7] lock        who rebuilds
//
// ARGV[1] now (ms), 0 for Redis's clock
//
// RS is byte 30. A group is a caller and its sorted namespaces joined by byte 31: tasks with the very same caps. As
// the first of a group stands for all of it, finding who is next costs a look at each group, not at each task, and
// one caller's long backlog hides nobody else's tasks.
const slotsPrelude = `
local GENERATION, TASKS, WAITING, GROUPS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local LEASES, USAGE, LOCK = KEYS[5], KEYS[6], KEYS[7]
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A restart from an old snapshot and a failover to a lagging replica lose leases as a wipe does: the run id shows both.
local function server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or 'unknown'
end

local function built() return redis.call('GET', GENERATION) == server() end

local function count(group, by)
  local kind = 'c:'
  for name in string.gmatch(group, '[^\31]+') do
    if redis.call('HINCRBY', USAGE, kind .. name, by) <= 0 then redis.call('HDEL', USAGE, kind .. name) end
    kind = 'n:'
  end
end

local function wait(id, order, group)
  redis.call('HSET', TASKS, id, order .. '\30' .. group)
  redis.call('ZADD', WAITING, 0, group .. '\30' .. order .. '\30' .. id)
  redis.call('ZADD', GROUPS, 'LT', order, group)
end

local function first(group)
  return redis.call('ZRANGEBYLEX', WAITING, '[' .. group .. '\30', '(' .. group .. '\31', 'LIMIT', 0, 1)[1]
end

local function unwait(group, member)
  redis.call('ZREM', WAITING, member)
  local following = first(group)
  if following then
    redis.call('ZADD', GROUPS, string.sub(following, #group + 2, #group + 16), group)
  else
    redis.call('ZREM', GROUPS, group)
  end
end

local function hold(id, group, till)
  redis.call('ZADD', LEASES, till, id)
  count(group, 1)
end

local function free(id)
  if redis.call('ZREM', LEASES, id) == 0 then return 0 end
  count(string.sub(redis.call('HGET', TASKS, id), 17), -1)
  redis.call('HDEL', TASKS, id)
  return 1
end

local function expire()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 1000)) do free(id) end
end
`

// slotsGuard is the start of the scripts that work on what was built.
const slotsGuard = slotsPrelude + `
if not built() then return redis.error_reply('REBUILD slots are to be rebuilt') end
expire()
`

// admitScript lets tasks wait, then gives slots to those that are next.
//
// KEYS    as in slotsPrelude
// ARGV[2] most tasks to admit
// ARGV[3] length of a launching lease (ms)
// ARGV[4] cap in all, ARGV[5] per namespace, ARGV[6] per caller; 0 for none
// ARGV[7] most groups to pass over
// ARGV[8…] id, order and group of each task to let wait; those already known are left as they are
//
// Returns the admitted ids in order, or the error REBUILD.
var admitScript = redis.NewScript(slotsGuard + `
local most, lease, ahead = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[7])
local cap_all, cap_namespace, cap_caller = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

for i = 8, #ARGV, 3 do
  if redis.call('HEXISTS', TASKS, ARGV[i]) == 0 then wait(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
end

local function fits(group)
  local kind, cap = 'c:', cap_caller
  for name in string.gmatch(group, '[^\31]+') do
    if cap > 0 and tonumber(redis.call('HGET', USAGE, kind .. name) or 0) >= cap then return false end
    kind, cap = 'n:', cap_namespace
  end
  return true
end

local admitted, passed, held = {}, 0, redis.call('ZCARD', LEASES)
-- Groups before rank "passed" do not fit, and cannot come to fit here as usage only grows; an admitted group's next
-- task sorts after it. So the group at that rank is always the next in order.
while #admitted < most and passed <= ahead and (cap_all == 0 or held < cap_all) do
  local group = redis.call('ZRANGE', GROUPS, passed, passed)[1]
  if not group then break end
  if fits(group) then
    local member = first(group)
    local id = string.sub(member, #group + 18)
    unwait(group, member)
    hold(id, group, now + lease)
    held = held + 1
    admitted[#admitted + 1] = id
  else
    passed = passed + 1
  end
end
return admitted
`)

// extendScript moves the end of a lease, never to an earlier time.
//
// KEYS as in slotsPrelude; ARGV[2] task id, ARGV[3] end (ms). Returns 1, 0 when not held, or the error REBUILD.
var extendScript = redis.NewScript(slotsGuard + `
if not redis.call('ZSCORE', LEASES, ARGV[2]) then return 0 end
redis.call('ZADD', LEASES, 'XX', 'GT', ARGV[3], ARGV[2])
return 1
`)

// releaseScript frees a held slot. KEYS as in slotsPrelude; ARGV[2] task id. Returns 1, 0 when not held, or REBUILD.
var releaseScript = redis.NewScript(slotsGuard + `return free(ARGV[2])`)

// removeScript takes a task off the waiting order. KEYS as in slotsPrelude; ARGV[2] task id.
//
// Returns 1, 0 when it does not wait (it may hold a slot), or the error REBUILD.
var removeScript = redis.NewScript(slotsGuard + `
local record = redis.call('HGET', TASKS, ARGV[2])
if not record or redis.call('ZSCORE', LEASES, ARGV[2]) then return 0 end
local order, group = string.sub(record, 1, 15), string.sub(record, 17)
redis.call('HDEL', TASKS, ARGV[2])
unwait(group, group .. '\30' .. order .. '\30' .. ARGV[2])
return 1
`)

// heldScript lists who holds a slot, and looks at none of those that wait, who may be many. KEYS as in slotsPrelude.
//
// Returns the ids by the end of their leases, or the error REBUILD.
var heldScript = redis.NewScript(slotsGuard + `return redis.call('ZRANGE', LEASES, 0, -1)`)

// countScript counts. KEYS as in slotsPrelude. Returns {held, waiting}, or the error REBUILD.
var countScript = redis.NewScript(slotsGuard + `return {redis.call('ZCARD', LEASES), redis.call('ZCARD', WAITING)}`)

// lockScript takes the lock for a rebuild and clears what a former server or a broken rebuild left.
//
// KEYS as in slotsPrelude; ARGV[2] token, ARGV[3] life of the lock (ms).
// Returns 1, or 0 when there is nothing to rebuild or somebody else is at it.
var lockScript = redis.NewScript(slotsPrelude + `
if built() or not redis.call('SET', LOCK, ARGV[2] .. server(), 'NX', 'PX', ARGV[3]) then return 0 end
redis.call('DEL', GENERATION, TASKS, WAITING, GROUPS, LEASES, USAGE)
return 1
`)

// unlockScript gives up the lock. KEYS as in slotsPrelude; ARGV[2] token. Returns 1, or 0 when it was lost.
var unlockScript = redis.NewScript(slotsPrelude + `
if redis.call('GET', LOCK) ~= ARGV[2] .. server() then return 0 end
return redis.call('DEL', LOCK)
`)

// installScript puts in a part of what a rebuild brings. Nothing is seen of it until the last part sets the generation.
//
// KEYS as in slotsPrelude; ARGV[2] token, ARGV[3] life of the lock from now (ms), ARGV[4] 1 with the last part else 0
// ARGV[5…] id, order, group and end of lease (ms; 0 when waiting) of each task
//
// Returns 1, or 0 when the lock was lost, be it by time, by another wipe or by a restart.
var installScript = redis.NewScript(slotsPrelude + `
if built() or redis.call('GET', LOCK) ~= ARGV[2] .. server() then return 0 end
for i = 5, #ARGV, 4 do
  local id, order, group, till = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if redis.call('HEXISTS', TASKS, id) == 1 then
    -- Named twice: the held one comes first, and counts.
  elseif till == 0 then
    wait(id, order, group)
  else
    redis.call('HSET', TASKS, id, order .. '\30' .. group)
    hold(id, group, till)
  end
end
if ARGV[4] == '1' then
  redis.call('SET', GENERATION, server())
  redis.call('DEL', LOCK)
else
  redis.call('PEXPIRE', LOCK, ARGV[3])
end
return 1
`)
