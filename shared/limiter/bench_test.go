package limiter

import (
	"context"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/redistest"
)

// BenchmarkSlots is a task's whole way: enqueue and admit, extend, release.
func BenchmarkSlots(b *testing.B) {
	client, prefix := redistest.New(b)
	slots, err := NewSlots(client, SlotsConfig{
		Prefix: prefix, Global: 50, PerNamespace: 20, PerCaller: 25, LookAhead: 200, LaunchLease: time.Minute,
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
