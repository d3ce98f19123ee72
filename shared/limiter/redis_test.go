package limiter

import (
	"context"
	"crypto/rand"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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

// setup connects to the real Redis with a key prefix that is the test's own.
func setup(t *testing.T) (client *redis.Client, prefix string) {
	t.Helper()
	url := os.Getenv("GRAF_TEST_REDIS_URL")
	if url == "" {
		t.Fatal("GRAF_TEST_REDIS_URL is not set: run make test, or: go run ./local/cmd/graf-local services -- go test ./...")
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client = redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client, "test-" + rand.Text() + ":"
}

// newSlots makes slots on the hand-moved clock and builds them empty.
func newSlots(t *testing.T, config SlotsConfig) (*Slots, *clock) {
	t.Helper()
	client, prefix := setup(t)
	clock := newClock()
	config.Prefix, config.Clock = prefix, clock.now
	if config.LaunchLease == 0 {
		config.LaunchLease = time.Minute
	}
	slots, err := NewSlots(client, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wipe(t, slots) })
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
