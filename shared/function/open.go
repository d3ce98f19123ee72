package function

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/sink"
)

// OpenPostgres opens the database and closes it when the function stops.
func (s *Scope) OpenPostgres(ctx context.Context, c postgres.Config) (*pgxpool.Pool, error) {
	pool, err := postgres.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	s.Close(pool.Close)
	return pool, nil
}

// OpenRedis opens Redis and closes it when the function stops.
func (s *Scope) OpenRedis(c redisdb.Config) (*redis.Client, error) {
	client, err := redisdb.Open(c)
	if err != nil {
		return nil, err
	}
	s.OnStop(func(context.Context) error { return client.Close() })
	return client, nil
}

// OpenOutbox makes the outbox of a database that publishes to the sink, and
// closes its connections when the function stops.
func (s *Scope) OpenOutbox(pool *pgxpool.Pool, c sink.Config) (*outbox.Outbox, error) {
	client, err := sink.New(c)
	if err != nil {
		return nil, err
	}
	s.Close(client.Close)
	return outbox.New(pool, client, slog.Default()), nil
}
