// Package memory is Graf's memory function: it answers over HTTP what earlier
// tasks learned that fits a task or a question, and serves agents tools by the
// Model Context Protocol. It shows and forgets memories; others have written them,
// see shared/memory. What agents report by its tools it hands to the callback
// function.
package memory

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/function"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redisdb"
)

// New makes the function for func-go's runtime.
func New() *function.Instance { return function.New("memory", start) }

func start(ctx context.Context, scope *function.Scope) (http.Handler, error) {
	var c Config
	if err := scope.Configure(&c); err != nil {
		return nil, err
	}
	validator, err := api.NewValidator()
	if err != nil {
		return nil, err
	}
	model, err := embedding.New(c.Embedding)
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
	recaller, tasks := &Recaller{pool: pool, model: model, wait: c.EmbeddingWait}, &Tasks{pool: pool}
	h := &handler{
		config: c, validator: validator, rate: rate, tokens: query.New(pool), recaller: recaller, tasks: tasks,
		keeper: &Keeper{pool: pool, operators: c.Operators, log: slog.Default()},
		mcp:    newMCP(&tools{validator: validator, recaller: recaller, tasks: tasks, callback: NewCallback(c.CallbackBaseURL)}),
	}
	return access.Handler(h.routes(), api.MaxMCPBytes, slog.Default()), nil
}
