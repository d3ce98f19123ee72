package migrations_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/migrations"
)

// variable names the environment variable that holds the URL of a Postgres on
// which tests may make databases. (shared/postgrestest reads it too, but shared
// depends on this module, and not the other way round.)
const variable = "GRAF_TEST_DATABASE_URL"

// timeout bounds a test.
const timeout = 2 * time.Minute

// database is an empty database of the test's own.
type database struct {
	t       testing.TB
	context context.Context
	url     string
	conn    *pgx.Conn
}

// empty makes a database, which is dropped at the test's end.
func empty(t testing.TB) *database {
	t.Helper()
	server, err := url.Parse(os.Getenv(variable))
	if err != nil || server.Host == "" {
		t.Fatalf("%s is not set: run make test, or: go run ./local/cmd/graf-local services --ephemeral -- go test ./...", variable)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	admin := &database{t: t, context: ctx, url: server.String(), conn: connect(ctx, t, server.String())}
	name := "graf_migrations_" + strings.ToLower(rand.Text())
	admin.exec("CREATE DATABASE " + name)
	t.Cleanup(func() { admin.exec("DROP DATABASE " + name + " WITH (FORCE)") })
	server.Path = "/" + name
	return &database{t: t, context: ctx, url: server.String(), conn: connect(ctx, t, server.String())}
}

// migrated makes a database with the schema.
func migrated(t testing.TB) *database {
	t.Helper()
	d := empty(t)
	d.up()
	return d
}

func connect(ctx context.Context, t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	return conn
}

// up applies what is missing and tells the files.
func (d *database) up() []string {
	d.t.Helper()
	applied, err := migrations.Up(d.context, d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	files := make([]string, len(applied))
	for i, m := range applied {
		files[i] = m.Source
	}
	return files
}

func (d *database) exec(statement string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.context, statement, args...); err != nil {
		d.t.Fatalf("%v in %s", err, statement)
	}
}

// list reads the rows of a statement.
func list[T any](d *database, statement string, args ...any) []T {
	d.t.Helper()
	rows, err := d.conn.Query(d.context, statement, args...)
	if err != nil {
		d.t.Fatalf("%v in %s", err, statement)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		d.t.Fatalf("%v in %s", err, statement)
	}
	return values
}
