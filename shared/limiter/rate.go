package limiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/graf-run/graf/shared/problem"
)

// RateConfig says how often one caller may call.
type RateConfig struct {
	// PerSecond is the sustained rate; 0 means no limit.
	PerSecond float64 `env:"GRAF_RATE_LIMIT_PER_SECOND" envDefault:"200"`
	// Burst is how many calls may come at once after a pause.
	Burst int `env:"GRAF_RATE_LIMIT_BURST" envDefault:"400"`
	// Prefix goes before every key. Tests use it to stay apart.
	Prefix string `env:"GRAF_REDIS_PREFIX"`
	// Clock replaces Redis's clock in tests. Leave it nil otherwise: Redis's clock is the one that all processes share.
	Clock func() time.Time `env:"-"`
}

// Validate tells what is wrong with the configuration, or nil.
func (c RateConfig) Validate() error {
	if c.PerSecond < 0 || c.PerSecond > 1e6 {
		return fmt.Errorf("GRAF_RATE_LIMIT_PER_SECOND is %v: give a number from 0 (no limit) to 1000000", c.PerSecond)
	}
	if c.PerSecond > 0 && (c.Burst < 1 || c.Burst > 1e6) {
		return fmt.Errorf("GRAF_RATE_LIMIT_BURST is %d: give a number from 1 to 1000000", c.Burst)
	}
	return nil
}

// Decision is the answer to one call.
type Decision struct {
	Allowed bool
	// RetryAfter is how long to wait before the next call can be allowed; 0 when this one is.
	RetryAfter time.Duration
	// Remaining is how many more calls would be allowed right now.
	Remaining int
}

// Rate limits calls per caller by the generic cell rate algorithm (GCRA, ITU-T I.371): one number per caller, the
// theoretical arrival time of the next call, instead of a bucket and the time it was last filled.
type Rate struct {
	redis  redis.Scripter
	config RateConfig
}

// NewRate makes a rate limiter. It does no I/O.
func NewRate(client redis.Scripter, config RateConfig) (*Rate, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Rate{redis: client, config: config}, nil
}

// rateScript takes one call from a caller's allowance.
//
// KEYS[1] theoretical arrival time of the caller's next call (µs), a string that expires once it lies in the past
// ARGV[1] now (µs), 0 for Redis's clock
// ARGV[2] interval between calls at the sustained rate (µs)
// ARGV[3] burst (calls)
//
// Returns {1 if allowed else 0, calls remaining, µs until the next call can be allowed}.
var rateScript = redis.NewScript(`
local now, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local arrival = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local earliest = arrival + interval - burst * interval
if earliest > now then
  return {0, 0, math.ceil(earliest - now)}
end
arrival = arrival + interval
-- Not tostring, which keeps 14 digits.
redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1)
return {1, math.floor((now + burst * interval - arrival) / interval + 1e-6), 0}
`)

// Allow takes one call from the caller's allowance. When Redis does not answer, the call is allowed and the error is
// returned for the log: a lost limit is better than a lost service.
func (r *Rate) Allow(ctx context.Context, caller string) (Decision, error) {
	if r.config.PerSecond == 0 {
		return Decision{Allowed: true}, nil
	}
	interval := strconv.FormatFloat(1e6/r.config.PerSecond, 'f', 3, 64)
	reply, err := rateScript.Run(ctx, r.redis, []string{r.config.Prefix + hashTag + "rate:" + caller},
		micros(r.config.Clock), interval, r.config.Burst).Int64Slice()
	if err == nil && len(reply) != 3 {
		err = errors.New("unexpected reply")
	}
	if err != nil {
		return Decision{Allowed: true}, fmt.Errorf("rate limit of %q not checked: %w", caller, err)
	}
	return Decision{
		Allowed:    reply[0] == 1,
		Remaining:  int(reply[1]),
		RetryAfter: time.Duration(reply[2]) * time.Microsecond,
	}, nil
}

// admitTimeout bounds the look at the rate limit. Redis answers in well under a millisecond or is in trouble, and then
// must not hold requests up.
const admitTimeout = 250 * time.Millisecond

// Admit is Allow for a request: nil, or problem.ErrRateLimited with the time to wait. Without Redis all are admitted.
func (r *Rate) Admit(ctx context.Context, caller string) error {
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	decision, err := r.Allow(ctx, caller)
	if err != nil {
		slog.WarnContext(ctx, "call allowed without a look at its rate", "caller", caller, "error", err)
	}
	if !decision.Allowed {
		return problem.ErrRateLimited.With("Caller %s calls too often; wait as Retry-After says.", caller).
			RetryAfter(decision.RetryAfter)
	}
	return nil
}

// micros is the clock's time in µs since the epoch, 0 without a clock.
func micros(clock func() time.Time) int64 {
	if clock == nil {
		return 0
	}
	return clock().UnixMicro()
}
