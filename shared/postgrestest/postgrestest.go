// Package postgrestest gives each test a migrated database of its own on a
// real Postgres. The schema is migrated once, into a template; a test gets a
// clone, which takes some 30 ms, and drops it at its end.
package postgrestest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/migrations"
)

// Variable names the environment variable that holds the URL of a Postgres on
// which tests may make databases.
const Variable = "GRAF_TEST_DATABASE_URL"

// timeout bounds the making of a database, the template's migration included.
const timeout = 2 * time.Minute

// New gives a pool on a migrated database of the test's own, closed and
// dropped at the test's end.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	databaseURL := URL(t)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		t.Fatalf("open the test's database: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// URL gives the URL of a migrated database of the test's own, dropped at the
// test's end with whatever still uses it.
func URL(t testing.TB) string {
	t.Helper()
	serverURL := ServerURL(t)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	template, err := templateOnce(ctx, serverURL)
	if err != nil {
		t.Fatalf("make the template database: %v", err)
	}
	name := "graf_test_" + strings.ToLower(rand.Text())
	if err := execute(ctx, serverURL, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template)); err != nil {
		t.Fatalf("make the test's database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := execute(ctx, serverURL, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	databaseURL, err := withDatabase(serverURL, name)
	if err != nil {
		t.Fatal(err)
	}
	return databaseURL
}

// ServerURL gives the URL of the Postgres that tests share, for tests that
// need an unmigrated database.
func ServerURL(t testing.TB) string {
	t.Helper()
	serverURL := os.Getenv(Variable)
	if serverURL == "" {
		t.Fatalf("%s is not set: run make test, or: go run ./local/cmd/graf-local services --ephemeral -- go test ./...", Variable)
	}
	return serverURL
}

var (
	templateMu   sync.Mutex
	templateName string // once this process has seen the template
)

// templateOnce makes sure of the template database and gives its name.
func templateOnce(ctx context.Context, serverURL string) (string, error) {
	templateMu.Lock()
	defer templateMu.Unlock()
	if templateName != "" {
		return templateName, nil
	}
	digest, err := schemaDigest(migrations.FS)
	if err != nil {
		return "", err
	}
	name := "graf_template_" + digest
	if err := makeTemplate(ctx, serverURL, name); err != nil {
		return "", err
	}
	templateName = name
	return name, nil
}

// lockKey is the advisory lock under which test processes make the template.
const lockKey = 0x67726166 // "graf"

// makeTemplate makes the template database unless there is one. It gets its
// name last, so that whatever has the name is complete.
func makeTemplate(ctx context.Context, serverURL, name string) error {
	conn, err := pgx.Connect(ctx, serverURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // which also gives the lock free
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", lockKey); err != nil {
		return err
	}
	var made bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&made); err != nil || made {
		return err
	}
	unfinished := name + "_unfinished"
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS " + unfinished + " WITH (FORCE)", // left by a test process that was killed
		"CREATE DATABASE " + unfinished,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	unfinishedURL, err := withDatabase(serverURL, unfinished)
	if err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, unfinishedURL); err != nil {
		return err
	}
	for _, statement := range []string{
		// A template must have no connections when it is cloned: not even autovacuum's.
		"ALTER DATABASE " + unfinished + " ALLOW_CONNECTIONS false",
		"ALTER DATABASE " + unfinished + " RENAME TO " + name,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// schemaDigest tells schemas apart by the names and texts of their migrations.
func schemaDigest(files fs.FS) (string, error) {
	names, err := fs.Glob(files, "*.sql") // in order
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text) // a hash takes everything
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}

func execute(ctx context.Context, databaseURL, statement string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// withDatabase gives the URL of another database on the same server.
func withDatabase(serverURL, name string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", fmt.Errorf("%s is no URL", Variable) // which may hold a password
	}
	u.Path = "/" + name
	return u.String(), nil
}
