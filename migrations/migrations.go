// Package migrations holds Graf's Postgres schema as numbered SQL files and
// applies them with goose. Functions never migrate: the command in
// cmd/migrate does, before they are deployed.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver of database/sql, which goose speaks
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// FS holds the migrations, NNNNN_name.sql, applied in order of their number.
//
//go:embed *.sql
var FS embed.FS

// Result is one migration that Up applied.
type Result struct {
	// Source is the file's name.
	Source string
	// Milliseconds is how long it took.
	Milliseconds int64
}

// Up applies every migration that the database at url does not have yet, each
// in a transaction unless its file says otherwise, and tells which. Several callers may run it at once: they
// take turns by an advisory lock.
func Up(ctx context.Context, url string) (_ []Result, err error) {
	provider, closeDB, err := open(url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeDB()) }()
	applied, err := provider.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("apply migrations: %w", err)
	}
	results := make([]Result, len(applied))
	for i, r := range applied {
		results[i] = Result{Source: r.Source.Path, Milliseconds: r.Duration.Milliseconds()}
	}
	return results, nil
}

// Pending tells how many migrations the database at url lacks.
func Pending(ctx context.Context, url string) (_ int, err error) {
	provider, closeDB, err := open(url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closeDB()) }()
	statuses, err := provider.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the state of the migrations: %w", err)
	}
	pending := 0
	for _, s := range statuses {
		if s.State == goose.StatePending {
			pending++
		}
	}
	return pending, nil
}

func open(url string) (*goose.Provider, func() error, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, nil, fmt.Errorf("open the database: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make the migration lock: %w", err), db.Close())
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, FS, goose.WithSessionLocker(locker))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the migrations: %w", err), db.Close())
	}
	return provider, db.Close, nil
}
