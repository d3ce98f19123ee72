package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TaskChannel is the Postgres channel on which the ids of tasks come that have
// new events or have ended.
const TaskChannel = "codex_task_events"

// notifyTimeout bounds a notification: readers look by themselves, too.
const notifyTimeout = time.Second

// NotifyTask wakes those who follow the task. It comes after the commit, because
// a transaction that notifies holds a lock of the whole database over its
// commit: within it, all tasks would wait for each other's disk writes. A
// notification that is lost delays readers by one poll.
func NotifyTask(ctx context.Context, pool *pgxpool.Pool, task uuid.UUID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
	defer cancel()
	if _, err := pool.Exec(ctx, "SELECT pg_notify($1, $2)", TaskChannel, task.String()); err != nil {
		return fmt.Errorf("notify the followers of task %s: %w", task, err)
	}
	return nil
}
