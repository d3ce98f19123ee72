// Package limiter keeps load within bounds, in Redis, for all processes at once.
//
// [Rate] limits how often a caller may call. [Slots] limits how many tasks run at a time (in all, per namespace and
// per caller) and keeps the order of those that wait.
//
// Redis may be wiped at any time: Postgres is the truth. A lost rate limit only forgives some calls. Slots notices a
// wipe, a restart and a failover (its generation marker holds the run id of the server that it was built on), refuses
// with [ErrRebuild] and admits nothing until [Slots.Rebuild] has told it what runs and what waits. For no cap to be
// exceeded over a rebuild, whoever launches an admitted task must, in this order:
//
//  1. note in Postgres until when it keeps its slot (so that a rebuild from now on counts it),
//  2. call [Slots.Extend] up to then, and give the task back on [ErrNotHeld] or [ErrRebuild],
//  3. start it.
//
// All keys carry the hash tag {graf}, so that they share a slot of a Redis Cluster. Redis must not evict keys
// (maxmemory-policy noeviction).
package limiter

// hashTag keeps all keys in one slot of a Redis Cluster, as scripts over several keys need.
const hashTag = "{graf}:"
