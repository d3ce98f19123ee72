// Package redisdb opens Redis, which holds what may be lost: rate limits, the
// slots and waiting order, and the retry buckets.
package redisdb

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config says where Redis is.
type Config struct {
	// URL is redis://[user:password@]host:port[/database].
	URL string `env:"GRAF_REDIS_URL,required,notEmpty"`
	// Prefix goes before every key, for installations that share a Redis.
	Prefix string `env:"GRAF_REDIS_PREFIX"`
}

// Open makes a client; it does no I/O. The caller closes it.
func Open(c Config) (*redis.Client, error) {
	options, err := redis.ParseURL(c.URL)
	if err != nil {
		// The error would quote the URL, which may hold a password.
		return nil, errors.New("GRAF_REDIS_URL: not a URL such as redis://user:password@host:6379/0")
	}
	// A function waits for Redis no longer than its callers wait for it.
	options.DialTimeout = 2 * time.Second
	options.ReadTimeout = 2 * time.Second
	options.WriteTimeout = 2 * time.Second
	options.MaxRetries = 1
	// By default each of these dials five times, 100 ms apart: too long for a
	// request that can do without Redis.
	options.DialerRetries = 1
	return redis.NewClient(options), nil
}
