// Package submit is Graf's submit function: it takes tasks in, by HTTP and by
// CloudEvent, shows them, lists them and cancels them. What it changes it
// announces: task.submitted, task.cancel_requested, task.finished.
package submit

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/function"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/policy"
)

// New makes the function for func-go's runtime.
func New() *function.Instance { return function.New("submit", start) }

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
	pool, err := scope.OpenPostgres(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	redis, err := scope.OpenRedis(c.Redis)
	if err != nil {
		return nil, err
	}
	rate, err := limiter.NewRate(redis, c.Rate)
	if err != nil {
		return nil, err
	}
	events, err := scope.OpenOutbox(pool, c.Sink)
	if err != nil {
		return nil, err
	}
	rules := policy.NewStore(c.Policy, pool, slog.Default())
	submitter := &Submitter{outbox: events, policy: rules}
	h := &handler{
		config: c, validator: validator, rate: rate, log: slog.Default(),
		submitter: submitter, retrier: &Retrier{pool: pool, submitter: submitter, operators: c.Operators},
		letters: &DeadLetters{pool: pool, outbox: events, log: slog.Default()}, canceller: &Canceller{outbox: events},
		approver: &Approver{outbox: events}, undoer: &Undoer{pool: pool, outbox: events, policy: rules}, policy: rules,
		reader: &Reader{pool: pool, artifacts: artifacts},
	}
	return access.Handler(h.routes(), delivery.MaxEventBytes, slog.Default()), nil
}
