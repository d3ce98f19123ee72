package launch

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/telemetry"
)

// Cancel stops the execution of a task whose cancellation was requested. Its
// end then comes to finalize like any other. A task that is being launched ends
// here; should its launch be under way, started stops what that makes.
func (l *Launcher) Cancel(ctx context.Context, id uuid.UUID) error {
	q := query.New(l.pool)
	task, err := q.GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s: %w", id, err)
	}
	ctx = telemetry.WithTraceParent(ctx, task.TraceParent)
	switch {
	case task.CancelRequestedAt == nil:
		return nil
	case task.Status == "launching":
		return l.abandon(ctx, task)
	case task.Status != "running":
		return nil
	}
	attempt, err := q.GetAttempt(ctx, id, task.Attempt)
	if err != nil {
		return fmt.Errorf("read attempt %d of task %s: %w", task.Attempt, id, err)
	}
	if attempt.ExecutionName == nil {
		return nil
	}
	err = l.cluster.Delete(ctx, kube.Execution{
		Kind: *attempt.ExecutionKind, Name: *attempt.ExecutionName,
		Namespace: *attempt.ExecutionNamespace, UID: *attempt.ExecutionUid,
	})
	return errors.Join(err, l.disarm(ctx, task))
}

// disarm takes the rights of a task's container, which may take its time to end. Callback takes no more actions of it.
func (l *Launcher) disarm(ctx context.Context, task query.Task) error {
	grants, err := grant.Parse(task.Grants)
	if err != nil {
		return fmt.Errorf("task %s: %w", task.ID, err)
	}
	container, _ := kube.Identities(task.ID.String(), int(task.Attempt), l.execution.Namespace, grants)
	if len(container.Rights) == 0 {
		return nil
	}
	return l.resources.Disarm(ctx, container)
}

// abandon ends a launch whose task was cancelled: first the execution, should a
// launch have been cut off after it was made, then the task.
func (l *Launcher) abandon(ctx context.Context, task query.Task) error {
	if err := l.cluster.Delete(ctx, l.executionOf(task)); err != nil {
		return fmt.Errorf("stop the launch of task %s: %w", task.ID, err)
	}
	return l.fail(ctx, task, errCancelled)
}

var errCancelled = errors.New("the task was cancelled")

// cancellation says who cancelled the task, and why if they said.
func cancellation(task query.Task) string {
	reason := "cancelled before it ran"
	if task.CancelRequestedBy != nil {
		reason = "cancelled by " + *task.CancelRequestedBy + " before it ran"
	}
	if task.CancelReason != nil && *task.CancelReason != "" {
		reason += ": " + *task.CancelReason
	}
	return reason
}

// givenUp tells whether the task was ended while this launch was under way,
// so that nobody knows of the execution that it has made.
func (l *Launcher) givenUp(ctx context.Context, task query.Task) (bool, error) {
	q := query.New(l.pool)
	now, err := q.GetTask(ctx, task.ID)
	if err != nil {
		return false, fmt.Errorf("read task %s: %w", task.ID, err)
	}
	if now.Attempt != task.Attempt || (now.Status != "cancelled" && now.Status != "failed") {
		return false, nil
	}
	attempt, err := q.GetAttempt(ctx, task.ID, task.Attempt)
	if err != nil {
		return false, fmt.Errorf("read attempt %d of task %s: %w", task.Attempt, task.ID, err)
	}
	return attempt.ExecutionEnd == nil, nil // else finalize saw the execution's end
}
