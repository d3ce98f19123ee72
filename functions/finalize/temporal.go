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

// observeAttempt looks at the execution of an attempt; running: the task is in that attempt, by what Postgres says.
func (f *Finalizer) observeAttempt(
	ctx context.Context, id uuid.UUID, attempt int,
) (task query.Task, o kube.Observation, running bool, err error) {
	task, err = query.New(f.pool).GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return task, o, false, nil
	}
	if err != nil {
		return task, o, false, fmt.Errorf("read task %s: %w", id, err)
	}
	if task.Status != "running" || int(task.Attempt) != attempt {
		return task, o, false, nil
	}
	o, err = f.observe(ctx, id, attempt, kube.KindFor(task.OrchestrationMode))
	return task, o, true, err
}

// NoteEnd looks at the execution of a running attempt. If it has ended, or goes
// on past its deadline, the task is then finalizing and its end is noted, for
// Observe to bring about. Errors are of servers that are away.
func (f *Finalizer) NoteEnd(ctx context.Context, id uuid.UUID, attempt int) error {
	task, o, running, err := f.observeAttempt(ctx, id, attempt)
	if err != nil || !running {
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
