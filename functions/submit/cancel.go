package submit

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// Canceller cancels tasks.
type Canceller struct{ outbox *outbox.Outbox }

// Cancel ends a task that waits, and asks for the end of one that is under way:
// launch stops its execution, finalize ends it as cancelled. It returns the
// status the task has now. Cancelling again changes nothing. It fails with
// problem.ErrNotFound, and with problem.ErrConflict if the task ended otherwise.
// reason may be empty.
func (c *Canceller) Cancel(ctx context.Context, id uuid.UUID, caller, reason string) (api.TaskStatus, error) {
	var status api.TaskStatus
	err := c.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		task, err := tx.LockTask(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoTask(id)
		}
		if err != nil {
			return fmt.Errorf("lock task %s: %w", id, err)
		}
		status, err = cancel(ctx, tx, task, caller, reason)
		return err
	})
	return status, err
}

func cancel(ctx context.Context, tx *outbox.Tx, task query.Task, caller, reason string) (api.TaskStatus, error) {
	status := api.TaskStatus(task.Status)
	switch status {
	case api.TaskStatusQueued, api.TaskStatusAwaitingApproval:
		return api.TaskStatusCancelled, cancelQueued(ctx, tx, task, caller, reason)
	case api.TaskStatusLaunching, api.TaskStatusRunning, api.TaskStatusFinalizing:
		return status, requestCancel(ctx, tx, task, caller, reason)
	case api.TaskStatusCancelled:
		return status, nil
	default:
		return "", problem.ErrConflict.With("Task %s has ended as %s; it can no longer be cancelled.", task.ID, status)
	}
}

// cancelQueued ends a task of which nothing runs. With that its tokens end.
func cancelQueued(ctx context.Context, tx *outbox.Tx, task query.Task, caller, reason string) error {
	failure := "cancelled by " + caller + " before it started"
	if task.Attempt > 0 {
		failure = fmt.Sprintf("cancelled by %s before attempt %d", caller, task.Attempt+1)
	}
	if reason != "" {
		failure += ": " + reason
	}
	cancelled, err := tx.CancelQueuedTask(ctx, query.CancelQueuedTaskParams{
		ID: task.ID, UpdatedBy: actor, RequestedBy: &caller, CancelReason: optional(reason), FailureReason: &failure,
	})
	if err != nil {
		return fmt.Errorf("cancel task %s: %w", task.ID, err)
	}
	return tx.AnnounceFinished(ctx, event.SourceSubmit, cancelled)
}

// requestCancel marks a task that is under way, the first time. A task that is
// finalizing has no execution left to stop: finalize reads the mark before it
// would give the task another attempt.
func requestCancel(ctx context.Context, tx *outbox.Tx, task query.Task, caller, reason string) error {
	if task.CancelRequestedAt != nil {
		return nil
	}
	err := tx.RequestTaskCancel(ctx, query.RequestTaskCancelParams{
		ID: task.ID, UpdatedBy: actor, RequestedBy: caller, CancelReason: optional(reason),
	})
	if err != nil {
		return fmt.Errorf("request the cancelling of task %s: %w", task.ID, err)
	}
	if api.TaskStatus(task.Status) != api.TaskStatusFinalizing {
		tx.Announce(event.NewTask(ctx, event.TypeTaskCancelRequested, event.SourceSubmit, task.ID,
			event.TaskCancelRequested{TaskID: task.ID, RequestedBy: caller}))
	}
	return nil
}

func errNoTask(id uuid.UUID) error {
	return problem.ErrNotFound.With("There is no task %s.", id)
}

// optional is nil for an empty text, which the database keeps as NULL.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
