package launch

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/telemetry"
)

// modeTemporal is the orchestration mode of tasks whose attempts the worker
// starts, in a Temporal workflow. launch gives them their slots.
const modeTemporal = "temporal"

// requestExecution announces that an attempt has its slot and is to be run. It
// is announced again whenever launch would carry on a launch that was cut off.
func (l *Launcher) requestExecution(ctx context.Context, task query.Task, attempt int) error {
	ctx = telemetry.WithTraceParent(ctx, task.TraceParent)
	err := l.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		tx.Announce(event.NewTask(ctx, event.TypeExecutionRequested, event.SourceLaunch, task.ID,
			event.ExecutionRequested{TaskID: task.ID, Attempt: attempt}))
		return nil
	})
	if err != nil {
		return fmt.Errorf("request the execution of task %s: %w", task.ID, err)
	}
	return nil
}

// Prepare moves a queued task to launching, as the given attempt, with what
// earlier tasks taught in its prompt. What is prepared already stays as it is,
// and what is past gives its slot back. Errors are of servers that are away.
func (l *Launcher) Prepare(ctx context.Context, id uuid.UUID, attempt int) error {
	task, err := l.taskOf(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case task.Status == "queued" && int(task.Attempt)+1 == attempt:
		_, _, err := l.prepare(telemetry.WithTraceParent(ctx, task.TraceParent), task)
		return err
	case int(task.Attempt) == attempt && holdsSlot(task.Status):
		return nil
	}
	return l.giveBack(ctx, id, attempt)
}

// Launch starts the execution of a prepared attempt. It may be done again: the
// execution is the same. Afterwards the task runs; or it is launching still, for
// want of a slot or of the cluster, until its execution is requested again; or
// it has failed, as its execution can never be started. Errors are of servers
// that are away.
func (l *Launcher) Launch(ctx context.Context, id uuid.UUID, attempt int) error {
	task, err := l.taskOf(ctx, id)
	if err != nil {
		return err
	}
	if task.Status != "launching" || int(task.Attempt) != attempt {
		return nil
	}
	return l.start(ctx, task)
}

// taskOf reads a task; one that does not exist is the zero task, which no attempt is of.
func (l *Launcher) taskOf(ctx context.Context, id uuid.UUID) (query.Task, error) {
	task, err := query.New(l.pool).GetTask(ctx, id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return query.Task{}, fmt.Errorf("read task %s: %w", id, err)
	}
	return task, nil
}

func holdsSlot(status string) bool {
	return status == "launching" || status == "running" || status == "finalizing"
}

// giveBack frees the slot of an attempt that is past.
func (l *Launcher) giveBack(ctx context.Context, id uuid.UUID, attempt int) error {
	return l.rebuilding(ctx, func() error {
		_, err := l.slots.Release(ctx, limiter.AttemptID(id.String(), attempt))
		return err
	})
}
