// Package callback is Graf's callback function: it takes what executions report
// of their task, hands out uploads for the artifacts they announce, and shows
// the events, in pages and live. Each report is announced with task.reported.
package callback

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/function"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/sink"
)

// New makes the function for func-go's runtime.
func New() *function.Instance { return function.New("callback", start) }

func start(ctx context.Context, scope *function.Scope) (http.Handler, error) {
	var c Config
	if err := scope.Configure(&c); err != nil {
		return nil, err
	}
	validator, err := api.NewValidator()
	if err != nil {
		return nil, err
	}
	artifacts, err := artifact.New(c.Artifacts)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	scope.Close(pool.Close)
	redis, err := redisdb.Open(c.Redis)
	if err != nil {
		return nil, err
	}
	scope.OnStop(func(context.Context) error { return redis.Close() })
	rate, err := limiter.NewRate(redis, c.Rate)
	if err != nil {
		return nil, err
	}
	broker, err := sink.New(c.Sink)
	if err != nil {
		return nil, err
	}
	scope.Close(broker.Close)
	listener := NewListener(pool.Config().ConnConfig, c.Stream.Max, slog.Default())
	scope.Close(listener.Close)
	h := &handler{
		config: c, validator: validator, rate: rate, log: slog.Default(),
		reporters: &Reporters{pool: pool, callers: c.Callers},
		recorder:  &Recorder{pool: pool, outbox: outbox.New(pool, broker, slog.Default()), log: slog.Default()},
		uploads:   artifacts, reader: &Reader{pool: pool}, listener: listener,
	}
	return access.Handler(h.routes(), api.MaxEventsBytes, slog.Default()), nil
}
