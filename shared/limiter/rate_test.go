package limiter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/redistest"
)

func newRate(t *testing.T, perSecond float64, burst int) (*Rate, *clock) {
	t.Helper()
	client, prefix := redistest.New(t)
	clock := newClock()
	rate, err := NewRate(client, RateConfig{PerSecond: perSecond, Burst: burst, Prefix: prefix, Clock: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return rate, clock
}

func allow(t *testing.T, rate *Rate, caller string) Decision {
	t.Helper()
	decision, err := rate.Allow(t.Context(), caller)
	if err != nil {
		t.Fatal(err)
	}
	return decision
}

func TestRateAllowsBurstThenSustainedRate(t *testing.T) {
	t.Parallel()
	rate, clock := newRate(t, 10, 3)
	for i, want := range []Decision{
		{Allowed: true, Remaining: 2},
		{Allowed: true, Remaining: 1},
		{Allowed: true},
		{RetryAfter: 100 * time.Millisecond},
		{RetryAfter: 100 * time.Millisecond},
	} {
		if got := allow(t, rate, "alice"); got != want {
			t.Errorf("call %d: %+v, want %+v", i, got, want)
		}
	}
	if got := allow(t, rate, "bob"); !got.Allowed {
		t.Errorf("another caller pays for the first: %+v", got)
	}
	clock.advance(40 * time.Millisecond)
	if got, want := allow(t, rate, "alice"), (Decision{RetryAfter: 60 * time.Millisecond}); got != want {
		t.Errorf("too early: %+v, want %+v", got, want)
	}
	clock.advance(60 * time.Millisecond)
	if got, want := allow(t, rate, "alice"), (Decision{Allowed: true}); got != want {
		t.Errorf("after RetryAfter: %+v, want %+v", got, want)
	}
	clock.advance(time.Hour)
	if got, want := allow(t, rate, "alice"), (Decision{Allowed: true, Remaining: 2}); got != want {
		t.Errorf("after a pause: %+v, want %+v", got, want)
	}
}

func TestRateNeverExceedsUnderConcurrency(t *testing.T) {
	t.Parallel()
	rate, _ := newRate(t, 0.001, 7)
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			decision, err := rate.Allow(t.Context(), "alice")
			if err != nil {
				t.Error(err)
			}
			if decision.Allowed {
				allowed.Add(1)
			}
		})
	}
	group.Wait()
	if allowed.Load() != 7 {
		t.Errorf("%d of 40 calls at once allowed, want the burst of 7", allowed.Load())
	}
}

func TestRateOnRedisClockExpires(t *testing.T) {
	t.Parallel()
	client, prefix := redistest.New(t)
	rate, err := NewRate(client, RateConfig{PerSecond: 1000, Burst: 5, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	if got := allow(t, rate, "alice"); !got.Allowed || got.Remaining != 4 {
		t.Errorf("first call: %+v", got)
	}
	ttl, err := client.PTTL(t.Context(), prefix+hashTag+"rate:alice").Result()
	// -2 means that it has expired already, -1 would be for ever.
	if err != nil || ttl == -1 || ttl > 10*time.Millisecond {
		t.Errorf("the key lives for %v, %v", ttl, err)
	}
}

func TestRateFailsOpen(t *testing.T) {
	t.Parallel()
	down := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = down.Close() })
	rate, err := NewRate(down, RateConfig{PerSecond: 1, Burst: 1})
	if err != nil {
		t.Fatal(err)
	}
	decision, err := rate.Allow(t.Context(), "alice")
	if !decision.Allowed || err == nil {
		t.Errorf("with Redis down: %+v, %v; want an allowed call and an error", decision, err)
	}
	unlimited, err := NewRate(down, RateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if decision, err := unlimited.Allow(context.Background(), "alice"); !decision.Allowed || err != nil {
		t.Errorf("without a limit: %+v, %v; want no call of Redis", decision, err)
	}
}

func TestRateConfigValidate(t *testing.T) {
	t.Parallel()
	for _, bad := range []RateConfig{{PerSecond: -1}, {PerSecond: 1}, {PerSecond: 1, Burst: -1}, {PerSecond: 1e9, Burst: 1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken for valid", bad)
		}
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1, MaxRetries: -1})
	t.Cleanup(func() { _ = away.Close() })
	client, prefix := redistest.New(t)
	clock := newClock()
	for name, test := range map[string]struct {
		redis *redis.Client
		calls int
		want  error
	}{
		"within the rate": {client, 1, nil},
		"beyond the rate": {client, 2, problem.ErrRateLimited},
		"Redis is away":   {away, 2, nil},
	} {
		rate, err := NewRate(test.redis, RateConfig{PerSecond: 1, Burst: 1, Prefix: prefix, Clock: clock.now})
		if err != nil {
			t.Fatal(err)
		}
		for range test.calls {
			err = rate.Admit(t.Context(), name)
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
