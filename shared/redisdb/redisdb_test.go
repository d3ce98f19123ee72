package redisdb_test

import (
	"os"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/redistest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	_, prefix := redistest.New(t)
	client, err := redisdb.Open(redisdb.Config{URL: os.Getenv(redistest.Variable)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Set(t.Context(), prefix+"key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(t.Context(), prefix+"key").Result(); err != nil || got != "value" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOpenRefusesWhatIsNoURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://:hunter2@host:port/0", "redis://:hunter2@host/first", "http://:hunter2@host/", "hunter2"} {
		_, err := redisdb.Open(redisdb.Config{URL: url})
		if err == nil || !strings.Contains(err.Error(), "GRAF_REDIS_URL") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: want an error that names the variable and not the password", err)
		}
	}
}
