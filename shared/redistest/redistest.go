// Package redistest gives each test keys of its own on a real Redis.
package redistest

import (
	"context"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Variable names the environment variable that holds the URL of a Redis in
// which tests may write keys.
const Variable = "GRAF_TEST_REDIS_URL"

// timeout bounds the removal of a test's keys.
const timeout = 30 * time.Second

// New gives a client and the prefix that the test's keys must start with. What
// has the prefix is removed, and the client closed, at the test's end.
func New(t testing.TB) (client *redis.Client, prefix string) {
	t.Helper()
	serverURL := os.Getenv(Variable)
	if serverURL == "" {
		t.Fatalf("%s is not set: run make test, or: go run ./local/cmd/graf-local services --ephemeral -- go test ./...", Variable)
	}
	options, err := redis.ParseURL(serverURL)
	if err != nil {
		t.Fatalf("%s is no Redis URL", Variable) // which may hold a password
	}
	client = redis.NewClient(options)
	prefix = "test:" + rand.Text() + ":"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := removeKeys(ctx, client, prefix); err != nil {
			t.Errorf("remove the test's keys: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Errorf("close the test's Redis client: %v", err)
		}
	})
	return client, prefix
}

func removeKeys(ctx context.Context, client *redis.Client, prefix string) error {
	const batch = 1000
	keys := client.Scan(ctx, 0, prefix+"*", batch).Iterator()
	for keys.Next(ctx) {
		if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}
