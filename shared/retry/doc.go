// Package retry keeps what is to be tried again: buckets in Redis, sorted by due time, with exponential backoff, jitter,
// a bound on attempts and a dead-letter end.
//
// Redis may be wiped at any time, so a bucket is an index, not the truth: whoever owns the items puts back those that
// its database knows of with [Bucket.Restore].
package retry
