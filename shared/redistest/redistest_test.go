package redistest_test

import (
	"context"
	"testing"

	"github.com/graf-run/graf/shared/redistest"
)

func TestKeysAreRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	observer, other := redistest.New(t)
	if err := observer.Set(ctx, other+"kept", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	var prefix string
	t.Run("user", func(t *testing.T) {
		client, own := redistest.New(t)
		prefix = own
		for _, key := range []string{"a", "b"} {
			if err := client.Set(ctx, own+key, "1", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
	for key, want := range map[string]int64{prefix + "a": 0, prefix + "b": 0, other + "kept": 1} {
		if got, err := observer.Exists(ctx, key).Result(); err != nil || got != want {
			t.Errorf("key %s after the test: %d, %v; want %d", key, got, err, want)
		}
	}
}
