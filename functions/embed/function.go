// Package embed is Graf's embed function: it gives the texts of tasks (prompts,
// snapshots, diffs, events, outcomes) their vectors, by which later tasks find
// them. It consumes the events that announce new texts, and memory.pending for
// those whose embedding failed or was missed.
package embed

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/function"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/retry"
)

// New makes the function for func-go's runtime.
func New() *function.Instance { return function.New("embed", start) }

func start(ctx context.Context, scope *function.Scope) (http.Handler, error) {
	var c Config
	if err := scope.Configure(&c); err != nil {
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
	model, err := embedding.New(c.Embedding)
	if err != nil {
		return nil, err
	}
	bucket, err := retry.NewBucket(redis, "embedding", c.retry(), retry.Options{Prefix: c.Redis.Prefix})
	if err != nil {
		return nil, err
	}
	e := &Embedder{pool: pool, model: model, bucket: bucket, attempts: c.RetryAttempts, log: slog.Default()}
	return delivery.NewReceiver(map[string]delivery.HandlerFunc{
		event.TypeTaskSubmitted: e.handleTask,
		event.TypeTaskReported:  e.handleTask,
		event.TypeTaskFinished:  e.handleFinished,
		event.TypeMemoryPending: e.handlePending,
	}), nil
}

// handleTask embeds the texts of the task that the event is about.
func (e *Embedder) handleTask(ctx context.Context, ev event.Event) error {
	task, err := subject(ev)
	if err != nil {
		return err
	}
	return e.EmbedTask(ctx, task)
}

// handlePending embeds what is due or was missed. With a subject it is the
// replay of a dead letter, see bury: that task is begun anew.
func (e *Embedder) handlePending(ctx context.Context, ev event.Event) error {
	if ev.Subject() == "" {
		return e.EmbedPending(ctx)
	}
	task, err := subject(ev)
	if err != nil {
		return err
	}
	return e.Revive(ctx, task)
}

func subject(ev event.Event) (uuid.UUID, error) {
	task, err := uuid.Parse(ev.Subject())
	if err != nil {
		return task, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/subject", Detail: "must be a task's id"})
	}
	return task, nil
}

// handleFinished is handleTask, and renews some vectors of another model: once
// for each task, so that a change of model is carried over in the background.
func (e *Embedder) handleFinished(ctx context.Context, ev event.Event) error {
	if err := e.handleTask(ctx, ev); err != nil {
		return err
	}
	return e.EmbedOutdated(ctx)
}
