package postgrestest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/graf-run/graf/shared/postgrestest"
)

func TestDatabasesAreMigratedAndApart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	first, second := postgrestest.New(t), postgrestest.New(t)
	if _, err := first.Exec(ctx, "CREATE TABLE only_here ()"); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]bool{"codex_tasks": true, "only_here": false} {
		var found bool
		if err := second.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&found); err != nil {
			t.Fatal(err)
		}
		if found != want {
			t.Errorf("table %s in the second database: %v, want %v", table, found, want)
		}
	}
}

func TestDatabaseIsDroppedThoughInUse(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var databaseURL string
	if !t.Run("user", func(t *testing.T) {
		databaseURL = postgrestest.URL(t)
		conn, err := pgx.Connect(ctx, databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		// Left open when the database is dropped.
		if err := conn.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}) {
		t.FailNow()
	}
	_, err := pgx.Connect(ctx, databaseURL)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "does not exist") {
		t.Errorf("connecting after the test: %v, want that there is no such database", err)
	}
}
