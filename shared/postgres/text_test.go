package postgres_test

import (
	"testing"

	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestTextIsWhatAColumnHolds(t *testing.T) {
	t.Parallel()
	pool := postgrestest.New(t)
	for text, want := range map[string]string{
		"plain, größer": "plain, größer",
		"a\x00b\x00":    "ab",
		"cut \xe2\x82":  "cut \uFFFD",
		"\x00\xff\x00":  "\uFFFD",
	} {
		got := tasktest.Scan[string](t, pool, "SELECT $1::text", postgres.Text(text))
		if got != want {
			t.Errorf("%q is kept as %q, want %q", text, got, want)
		}
	}
}
