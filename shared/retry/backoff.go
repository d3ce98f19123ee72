package retry

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Jitter says how a delay is spread, so that what failed together is not retried together.
type Jitter string

const (
	// FullJitter spreads a delay d evenly over 0 to d.
	FullJitter Jitter = "full"
	// EqualJitter spreads a delay d evenly over d/2 to d, so that some wait is certain.
	EqualJitter Jitter = "equal"
)

// Config says how often and after what delays something is tried again.
type Config struct {
	// Base is the delay after the first failure, before jitter. It doubles with each further failure, up to Max.
	Base time.Duration
	Max  time.Duration
	// Jitter is EqualJitter when empty.
	Jitter Jitter
	// MaxAttempts is after how many failures an item is dead.
	MaxAttempts int
	// Visibility is how long an item that [Bucket.Due] handed out stays hidden; it is due again after that unless
	// it was done or scheduled again. It must exceed the time that an attempt takes.
	Visibility time.Duration
	// DeadLimit bounds the dead items that are kept; the oldest go first.
	DeadLimit int
}

// DefaultConfig is 1 s, 2 s, 4 s … up to 5 minutes, eight times.
func DefaultConfig() Config {
	return Config{
		Base: time.Second, Max: 5 * time.Minute, Jitter: EqualJitter,
		MaxAttempts: 8, Visibility: time.Minute, DeadLimit: 10_000,
	}
}

// Validate tells what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	switch {
	case c.Base < time.Millisecond || c.Max < c.Base:
		return fmt.Errorf("retry: base delay %v and greatest delay %v: need 1ms ≤ base ≤ greatest", c.Base, c.Max)
	case c.Jitter != "" && c.Jitter != FullJitter && c.Jitter != EqualJitter:
		return fmt.Errorf("retry: jitter %q is neither %q nor %q", c.Jitter, FullJitter, EqualJitter)
	case c.MaxAttempts < 1:
		return errors.New("retry: at least one attempt is needed")
	case c.Visibility < time.Millisecond:
		return fmt.Errorf("retry: visibility %v is less than 1ms", c.Visibility)
	case c.DeadLimit < 1:
		return errors.New("retry: the limit of dead items must be at least 1")
	}
	return nil
}

// Backoff returns how long to wait after the given number of failures (1 or more): exponential backoff with jitter, as
// in Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). random returns numbers in [0, 1).
func Backoff(failures int, config Config, random func() float64) time.Duration {
	// In floating point, where too many failures give +Inf rather than an overflow.
	delay := min(float64(config.Max), float64(config.Base)*math.Pow(2, float64(max(failures, 1)-1)))
	if config.Jitter == FullJitter {
		return time.Duration(delay * random())
	}
	return time.Duration(delay/2 + delay/2*random())
}
