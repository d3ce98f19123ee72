package launch

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
)

// Cancel stops the execution of a task whose cancellation was requested. Its
// end then comes to finalize like any other. A task that has no execution yet
// is stopped by started, as soon as it has one.
func (l *Launcher) Cancel(ctx context.Context, id uuid.UUID) error {
	q := query.New(l.pool)
	task, err := q.GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s: %w", id, err)
	}
	if task.CancelRequestedAt == nil || task.Status != "running" {
		return nil
	}
	attempt, err := q.GetAttempt(ctx, id, task.Attempt)
	if err != nil {
		return fmt.Errorf("read attempt %d of task %s: %w", task.Attempt, id, err)
	}
	if attempt.ExecutionName == nil {
		return nil
	}
	return l.cluster.Delete(ctx, kube.Execution{
		Kind: *attempt.ExecutionKind, Name: *attempt.ExecutionName,
		Namespace: *attempt.ExecutionNamespace, UID: *attempt.ExecutionUid,
	})
}
