// Package finalize is Graf's finalize function: it brings everything to its end.
// It consumes the ends of executions (as an ApiServerSource tells of Jobs and
// Argo Workflows) and agents' last reports, and finishes or requeues their tasks;
// changes of Deployments and Knative Revisions, of which it tells the tasks that
// have to do with them; the tick, on which it sweeps up what was left lying; and
// dead letters, which it keeps.
package finalize

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/function"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/problem"
)

// New makes the function for func-go's runtime.
func New() *function.Instance { return function.New("finalize", start) }

func start(ctx context.Context, scope *function.Scope) (http.Handler, error) {
	var c Config
	if err := scope.Configure(&c); err != nil {
		return nil, err
	}
	f, err := Open(ctx, scope, c)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /{$}", delivery.NewReceiver(map[string]delivery.HandlerFunc{
		event.TypeResourceAdd:    f.handleChange(f.handleExecutionUpdate),
		event.TypeResourceUpdate: f.handleChange(f.handleExecutionUpdate),
		event.TypeResourceDelete: f.handleChange(f.handleExecutionDelete),
		event.TypeTaskReported:   f.handleReported,
		event.TypePing:           func(ctx context.Context, _ event.Event) error { return f.Sweep(ctx) },
	}))
	mux.HandleFunc("POST /dead-letters", f.handleDeadLetter)
	return mux, nil
}

// Open makes a Finalizer of its configuration. It waits for no server; the scope
// closes what it opens.
func Open(ctx context.Context, scope *function.Scope, c Config) (*Finalizer, error) {
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
	store, err := artifact.New(c.Artifacts)
	if err != nil {
		return nil, err
	}
	cluster, err := kube.New(c.Kubernetes)
	if err != nil {
		return nil, err
	}
	return &Finalizer{
		pool: pool, outbox: events, slots: slots, artifacts: store,
		cluster: cluster, resources: cluster, config: c, copier: newLogCopier(), log: slog.Default(),
	}, nil
}

// handleExecutionUpdate takes up the end of an execution, or that its pod runs.
// What is not Graf's is none of its business.
func (f *Finalizer) handleExecutionUpdate(ctx context.Context, e event.Event) error {
	return f.handleExecution(ctx, e, kube.Observation.Finished)
}

func (f *Finalizer) handleExecutionDelete(ctx context.Context, e event.Event) error {
	return f.handleExecution(ctx, e, func(kube.Observation) bool { return true })
}

// handleExecution takes an event about a Job or a Workflow as a hint to look at
// it itself: who may send events may not thereby end tasks. What the event says
// only spares the look where there is no end.
func (f *Finalizer) handleExecution(ctx context.Context, e event.Event, end func(kube.Observation) bool) error {
	hint, err := kube.ParseJSON(e.Data())
	if errors.Is(err, kube.ErrInvalid) || (err == nil && !end(hint) && !hint.Stopping() && !hint.Running) {
		return nil
	}
	if err != nil {
		return err
	}
	task, err := uuid.Parse(hint.TaskID)
	if err != nil {
		f.log.WarnContext(ctx, "an execution's label is no task id", "execution", hint.Execution, "label", hint.TaskID)
		return nil //nolint:nilerr // somebody else's: to deliver it again would not help
	}
	if !end(hint) {
		if hint.Stopping() {
			return f.keepStoppingLog(ctx, task, hint.Attempt)
		}
		return f.tellRunning(ctx, task, hint)
	}
	return f.hear(ctx, task, hint.Attempt)
}

// handleReported looks whether the execution whose agent has said its last word
// has ended, should the source of Job events be slow or have lost one.
func (f *Finalizer) handleReported(ctx context.Context, e event.Event) error {
	task, err := uuid.Parse(e.Subject())
	if err != nil {
		return problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/subject", Detail: "must be a task's id"})
	}
	data, err := delivery.Data[event.TaskReported](e)
	if err != nil {
		return err
	}
	return f.hear(ctx, task, data.Attempt)
}
