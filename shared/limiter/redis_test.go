package limiter

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/graf-run/graf/shared/redistest"
)

// clock is a clock that tests move by hand.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time               { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) advance(d time.Duration)      { c.micros.Add(d.Microseconds()) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }

// newSlots makes slots on the hand-moved clock and builds them empty.
func newSlots(t *testing.T, config SlotsConfig) (*Slots, *clock) {
	t.Helper()
	client, prefix := redistest.New(t)
	clock := newClock()
	config.Prefix, config.Clock = prefix, clock.now
	if config.LaunchLease == 0 {
		config.LaunchLease = time.Minute
	}
	slots, err := NewSlots(client, config)
	if err != nil {
		t.Fatal(err)
	}
	rebuild(t, slots, State{})
	return slots, clock
}

// wipe deletes all that slots has in Redis, at once, as FLUSHALL would.
func wipe(t *testing.T, slots *Slots) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := slots.redis.(*redis.Client).Del(ctx, slots.keys...).Err(); err != nil {
		t.Error(err)
	}
}

func rebuild(t *testing.T, slots *Slots, state State) {
	t.Helper()
	rebuilt, err := slots.Rebuild(t.Context(), func(context.Context) (State, error) { return state, nil })
	if err != nil || !rebuilt {
		t.Fatalf("Rebuild() = %v, %v", rebuilt, err)
	}
}
