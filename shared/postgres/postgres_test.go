package postgres_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/tasktest"
)

// open opens a database of the test's own as a function would.
func open(t *testing.T, c postgres.Config) *pgxpool.Pool {
	t.Helper()
	if c.URL == "" {
		c.URL = postgrestest.URL(t)
	}
	if c.MaxConns == 0 {
		c.MaxConns = 2
	}
	if c.StatementTimeout == 0 {
		c.StatementTimeout = time.Minute
	}
	pool, err := postgres.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// raise has the database answer with an error of a code.
func raise(code string) string {
	return "DO $$ BEGIN RAISE EXCEPTION 'as the test wants' USING ERRCODE = '" + code + "'; END $$"
}

func TestTransactTellsErrorsApart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statement string
		want      error // nil: neither kind
		runs      int
	}{
		"serialization failure":  {raise("40001"), nil, 5},
		"deadlock":               {raise("40P01"), nil, 5},
		"transition":             {raise("GR001"), postgres.ErrTransition, 1},
		"too many connections":   {raise("53300"), problem.ErrUnavailable, 1},
		"starting up":            {raise("57P03"), problem.ErrUnavailable, 1},
		"connection is cut":      {"SELECT pg_terminate_backend(pg_backend_pid())", problem.ErrUnavailable, 1},
		"no such table":          {"SELECT FROM nowhere", problem.ErrUnavailable, 1},
		"no such column":         {"SELECT nothing FROM codex_tasks", problem.ErrUnavailable, 1},
		"statement is cancelled": {raise("57014"), nil, 1},
		"unique":                 {raise("23505"), nil, 1},
		"syntax":                 {"SELEKT", nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, postgres.Config{})
			runs := 0
			err := postgres.Transact(t.Context(), pool, func(tx pgx.Tx) error {
				runs++
				_, err := tx.Exec(t.Context(), test.statement)
				return err
			})
			if err == nil || runs != test.runs {
				t.Errorf("%d runs, %v; want %d and an error", runs, err, test.runs)
			}
			for _, kind := range []error{postgres.ErrTransition, problem.ErrUnavailable} {
				if is := errors.Is(err, kind); is != errors.Is(test.want, kind) {
					t.Errorf("%v is %v: %v, want %v", err, kind, is, !is)
				}
			}
			// What broke must not stay in the pool.
			if err := postgres.Transact(t.Context(), pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "SELECT 1")
				return err
			}); err != nil {
				t.Errorf("the next transaction: %v", err)
			}
		})
	}
}

func TestTransactGivesBackErrorsOfItsFunction(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{})
	for _, want := range []error{
		errors.New("on second thoughts"),
		problem.ErrConflict.With("it ended").Because(&pgconn.PgError{Code: "57P01"}),
	} {
		err := postgres.Transact(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "CREATE TABLE changed ()")
			return errors.Join(err, want)
		})
		if !errors.Is(err, want) || problem.Status(err) != problem.Status(want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if tasktest.Scan[bool](t, pool, "SELECT to_regclass('changed') IS NOT NULL") {
		t.Error("a transaction that failed has changed something")
	}
}

func TestTransactDoesNotStartOverForOneWhoLeft(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{})
	errLeft := errors.New("the client left")
	ctx, leave := context.WithCancelCause(t.Context())
	runs := 0
	err := postgres.Transact(ctx, pool, func(tx pgx.Tx) error {
		runs++
		_, err := tx.Exec(ctx, raise("40001"))
		leave(errLeft)
		return err
	})
	if !errors.Is(err, errLeft) || runs != 1 {
		t.Errorf("%d runs, %v; want one and %v", runs, err, errLeft)
	}
}

// A function must be ready though its database is away, and say so to callers.
func TestOpenDoesNotWaitForTheDatabase(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	pool := open(t, postgres.Config{URL: "postgres://graf:hunter2@" + away + "/graf"})
	err = postgres.Transact(t.Context(), pool, func(pgx.Tx) error { return nil })
	if !errors.Is(err, problem.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, problem.ErrUnavailable)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error tells the password: %v", err)
	}
}

func TestOpenRefusesWhatIsNoURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://graf:hunter2@host:port/graf", "postgres://graf:hunter2@host/graf?sslmode=odd", "hunter2"} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
		if err == nil || !strings.Contains(err.Error(), "GRAF_DATABASE_URL") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: want an error that names the variable and not the password", err)
		}
	}
}

func TestStatementsAreBounded(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{StatementTimeout: 50 * time.Millisecond})
	_, err := pool.Exec(t.Context(), "SELECT pg_sleep(60)")
	var cancelled *pgconn.PgError
	if !errors.As(err, &cancelled) || cancelled.Code != "57014" {
		t.Errorf("got %v, want that the statement took too long", err)
	}
}

// It comes after a commit, when the caller may have left.
func TestNotifyTaskThoughTheCallerLeft(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	follower, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follower.Close(ctx) }()
	if _, err := follower.Exec(ctx, "LISTEN "+postgres.TaskChannel); err != nil {
		t.Fatal(err)
	}
	left, leave := context.WithCancel(ctx)
	leave()
	id := uuid.New()
	if err := postgres.NotifyTask(left, pool, id); err != nil {
		t.Fatal(err)
	}
	if got, err := follower.WaitForNotification(ctx); err != nil || got.Payload != id.String() {
		t.Errorf("got %v, %v; want %s", got, err, id)
	}
}
