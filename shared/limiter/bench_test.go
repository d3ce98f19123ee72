package limiter

import (
	"context"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// BenchmarkSlots is a task's whole way: enqueue and admit, extend, release.
func BenchmarkSlots(b *testing.B) {
	options, err := redis.ParseURL(os.Getenv("GRAF_TEST_REDIS_URL"))
	if err != nil {
		b.Fatal(err)
	}
	slots, err := NewSlots(redis.NewClient(options), SlotsConfig{
		Prefix: "bench-" + rand.Text() + ":", Global: 50, PerNamespace: 20, PerCaller: 25, LookAhead: 200, LaunchLease: time.Minute,
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := slots.Rebuild(b.Context(), func(context.Context) (State, error) { return State{}, nil }); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		ids, err := slots.EnqueueAndAdmit(b.Context(), task(i, "a", "x"), 1)
		if err != nil || len(ids) != 1 {
			b.Fatal(ids, err)
		}
		if err := slots.Extend(b.Context(), ids[0], time.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
		if _, err := slots.Release(b.Context(), ids[0]); err != nil {
			b.Fatal(err)
		}
	}
}
