// Package launch is Graf's launch function: it gives waiting tasks a slot, their
// prompt what earlier tasks taught, and starts their execution. It consumes
// the events that make a task wait (submitted, requeued), those that free a
// slot or say that something is due (finished, queue.due), and cancellations.
package launch

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/function"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/retry"
)

// New makes the function for func-go's runtime.
func New() *function.Instance { return function.New("launch", start) }

func start(ctx context.Context, scope *function.Scope) (http.Handler, error) {
	var c Config
	if err := scope.Configure(&c); err != nil {
		return nil, err
	}
	l, err := Open(ctx, scope, c)
	if err != nil {
		return nil, err
	}
	return delivery.NewReceiver(map[string]delivery.HandlerFunc{
		event.TypeTaskSubmitted:       l.handleSubmitted,
		event.TypeTaskRequeued:        l.handleRequeued,
		event.TypeTaskCancelRequested: l.handleCancelRequested,
		event.TypeApprovalDecided:     l.handleSubmitted, // The task waits now, if that was all.
		event.TypeTaskUndoRequested:   l.handleUndoRequested,
		event.TypeTaskFinished:        func(ctx context.Context, _ event.Event) error { return l.Admit(ctx) },
		event.TypeQueueDue:            func(ctx context.Context, _ event.Event) error { return l.Catch(ctx) },
	}), nil
}

// Open makes a Launcher of its configuration. It waits for no server; the scope
// closes what it opens.
func Open(ctx context.Context, scope *function.Scope, c Config) (*Launcher, error) {
	pool, err := scope.OpenPostgres(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	redis, err := scope.OpenRedis(c.Redis)
	if err != nil {
		return nil, err
	}
	events, err := scope.OpenOutbox(pool, c.Sink)
	if err != nil {
		return nil, err
	}
	slots, err := limiter.NewSlots(redis, c.Slots)
	if err != nil {
		return nil, err
	}
	bucket, err := retry.NewBucket(redis, "launch", c.retry(), retry.Options{Prefix: c.Redis.Prefix})
	if err != nil {
		return nil, err
	}
	cluster, err := kube.New(c.Kubernetes)
	if err != nil {
		return nil, err
	}
	model, dimension, err := c.Embedding.Vectors()
	if err != nil {
		return nil, err
	}
	return &Launcher{
		pool: pool, outbox: events, slots: slots, bucket: bucket,
		cluster: cluster, resources: cluster,
		execution: c.Execution, attempts: c.RetryAttempts, log: slog.Default(),
		recaller: recaller{pool: pool, config: c.Recall, model: model, dimension: dimension},
	}, nil
}

func (l *Launcher) handleSubmitted(ctx context.Context, e event.Event) error {
	task, err := subject(e)
	if err != nil {
		return err
	}
	return l.Enqueue(ctx, task)
}

func (l *Launcher) handleRequeued(ctx context.Context, e event.Event) error {
	task, err := subject(e)
	if err != nil {
		return err
	}
	data, err := delivery.Data[event.TaskRequeued](e)
	if err != nil {
		return err
	}
	return l.EnqueueAt(ctx, task, data.Attempt, data.NotBefore)
}

func (l *Launcher) handleCancelRequested(ctx context.Context, e event.Event) error {
	task, err := subject(e)
	if err != nil {
		return err
	}
	return l.Cancel(ctx, task)
}

// subject is the id of the task that an event is about.
func subject(e event.Event) (uuid.UUID, error) {
	task, err := uuid.Parse(e.Subject())
	if err != nil {
		return uuid.UUID{}, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/subject", Detail: "must be a task's id"})
	}
	return task, nil
}
