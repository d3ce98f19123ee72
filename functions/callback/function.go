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
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/policy"
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
	cluster, err := kube.New(c.Actions.Kubernetes)
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
	listener := NewListener(pool.Config().ConnConfig, c.Stream.Max, slog.Default())
	scope.Close(listener.Close)
	h := &handler{
		config: c, validator: validator, rate: rate, log: slog.Default(),
		reporters: &Reporters{pool: pool, callers: c.Callers},
		recorder:  &Recorder{pool: pool, outbox: events, log: slog.Default()},
		uploads:   artifacts, parts: NewParts(pool, artifacts, slog.Default()), reader: &Reader{pool: pool}, listener: listener,
		turns: NewTurns(c.Actions.Max),
		operator: &Operator{
			pool: pool, outbox: events, cluster: cluster, namespace: c.Actions.Namespace, maxApprovals: c.Actions.MaxApprovals,
			policies: policy.NewStore(c.Actions.Policy, pool, slog.Default()),
		},
	}
	return access.Handler(h.routes(), api.MaxActionsBytes, slog.Default()), nil
}
