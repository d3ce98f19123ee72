package finalize

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
)

// modeTemporal is the orchestration mode of tasks whose attempts are ended by a
// Temporal workflow, in the worker.
const modeTemporal = "temporal"

// hear is Observe for what an event tells of. A task that Temporal runs is its
// workflow's to end, which hears of the same events, unless it is overdue.
func (f *Finalizer) hear(ctx context.Context, id uuid.UUID, attempt int) error {
	task, err := query.New(f.pool).GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s: %w", id, err)
	}
	if task.OrchestrationMode == modeTemporal && !f.overdue(task) {
		return nil
	}
	return f.observeTask(ctx, task, attempt)
}

// overdue tells whether a task's execution should have ended by now.
func (f *Finalizer) overdue(task query.Task) bool {
	return task.DeadlineAt != nil && time.Since(*task.DeadlineAt) > f.config.Grace
}

// NoteEnd looks at the execution of a running attempt. If it has ended, or goes
// on past its deadline, the task is then finalizing and its end is noted, for
// Observe to bring about. Errors are of servers that are away.
func (f *Finalizer) NoteEnd(ctx context.Context, id uuid.UUID, attempt int) error {
	task, err := query.New(f.pool).GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s: %w", id, err)
	}
	if task.Status != "running" || int(task.Attempt) != attempt {
		return nil
	}
	o, err := f.observe(ctx, id, attempt, kube.KindFor(task.OrchestrationMode))
	if err != nil {
		return err
	}
	if !o.Finished() {
		if !f.overdue(task) {
			return nil
		}
		o.Phase = kube.PhaseDeadlineExceeded // Observe stops it
	}
	_, _, err = f.begin(ctx, id, o)
	return err
}
