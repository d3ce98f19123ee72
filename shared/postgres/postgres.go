// Package postgres opens Graf's database and holds its typed SQL: queries/
// has the statements, package query the code that sqlc generates from them.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/problem"
)

// Config says where the database is.
type Config struct {
	// URL is postgres://user:password@host:port/name.
	URL string `env:"GRAF_DATABASE_URL,required,notEmpty"`
	// MaxConns bounds the connections of one function instance.
	MaxConns int32 `env:"GRAF_DATABASE_MAX_CONNS" envDefault:"8"`
	// StatementTimeout ends a statement that runs longer.
	StatementTimeout time.Duration `env:"GRAF_DATABASE_STATEMENT_TIMEOUT" envDefault:"15s"`
}

// ErrTransition marks a status change that the state machine does not allow.
// The database raises it, see migrations/00002_tasks.sql.
var ErrTransition = errors.New("not a transition of the task state machine")

const (
	codeTransition           = "GR001"
	codeSerializationFailure = "40001"
	codeDeadlockDetected     = "40P01"
)

// Open makes the pool. It does not wait for the database: a function must be
// ready at once and answer 503 while the database is away, not fail to start.
// The first connection is made in the background. The caller closes the pool.
func Open(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("GRAF_DATABASE_URL: %w", redactURL(err))
	}
	pc.MaxConns = c.MaxConns
	pc.MinConns = 1
	pc.ConnConfig.ConnectTimeout = 5 * time.Second
	// A database that restarts leaves dead connections behind: check one that
	// was idle for a while before it is used.
	pc.HealthCheckPeriod = 10 * time.Second
	pc.ConnConfig.RuntimeParams["application_name"] = "graf"
	pc.ConnConfig.RuntimeParams["statement_timeout"] = fmt.Sprint(c.StatementTimeout.Milliseconds())
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

// redactURL drops pgx's quotation of the connection string, which may hold a
// password in a part that pgx did not recognise as one.
func redactURL(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("not a connection string such as postgres://user:password@host:5432/name")
	}
	return err
}

// maxTries bounds how often Transact starts over.
const maxTries = 5

// Transact runs fn in a transaction and commits it. When the database asks for
// a new try (serialization failure, deadlock) it starts over, so fn must have
// no effect but on the transaction. Errors of fn come back as they are.
func Transact(ctx context.Context, pool *pgxpool.Pool, fn func(pgx.Tx) error) error {
	var err error
	for try := range maxTries {
		err = pgx.BeginFunc(ctx, pool, fn)
		if !again(err) {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration(1<<try) * 5 * time.Millisecond):
		}
	}
	return Classify(err)
}

func again(err error) bool {
	code := sqlState(err)
	return code == codeSerializationFailure || code == codeDeadlockDetected
}

// Classify gives database errors that callers tell apart their sentinel:
// ErrTransition, and problem.ErrUnavailable where the database is away or was
// not migrated.
func Classify(err error) error {
	switch _, classified := errors.AsType[*problem.Error](err); {
	case err == nil || classified:
		return err
	case sqlState(err) == codeTransition:
		return fmt.Errorf("%w: %w", ErrTransition, err)
	case away(err):
		return unavailable(err)
	case slices.Contains(schemaCodes, sqlState(err)):
		return unmigrated(err)
	default:
		return err
	}
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
