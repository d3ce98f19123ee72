-- name: GetTask :one
SELECT * FROM codex_tasks WHERE id = $1;

-- name: LockTask :one
-- LockTask reads a task and holds its row until the transaction ends, so that
-- what is decided from the row is still true when it is written.
SELECT * FROM codex_tasks WHERE id = $1 FOR UPDATE;

-- name: ListQueued :many
-- ListQueued lists the tasks that may start now, in the order in which they
-- should.
SELECT id, caller, namespaces, priority, attempt, created_at FROM codex_tasks
WHERE status = 'queued' AND (not_before IS NULL OR not_before <= now())
ORDER BY priority DESC, created_at LIMIT @max_rows;

-- name: ListHolding :many
-- ListHolding lists the tasks that hold a slot.
SELECT id, caller, namespaces, priority, attempt, created_at, timeout_seconds, deadline_at
FROM codex_tasks WHERE status IN ('launching', 'running', 'finalizing');

-- name: ListStaleLaunches :many
-- ListStaleLaunches lists launches that nobody seems to be carrying on.
SELECT id, attempt FROM codex_tasks
WHERE status = 'launching' AND launching_at < now() - @min_age::interval
ORDER BY launching_at LIMIT @max_rows;

-- name: StartAttempt :one
-- StartAttempt notes what runs an attempt and moves its task to running. No row: it went on without
-- us, because its execution has ended already or another launch was faster.
WITH task AS (
    UPDATE codex_tasks
    SET status = 'running', updated_by = @updated_by, deadline_at = @deadline_at
    WHERE id = @task_id AND status = 'launching' AND codex_tasks.attempt = @attempt
    RETURNING id, codex_tasks.attempt, cancel_requested_at
), attempt AS (
    UPDATE codex_task_attempts a
    SET started_at = coalesce(started_at, now()), execution_kind = @kind, execution_name = @name,
        execution_namespace = @namespace, execution_uid = @uid
    WHERE a.task_id = @task_id AND a.attempt = @attempt
)
SELECT task.id, task.cancel_requested_at FROM task;

-- name: FailLaunch :one
-- FailLaunch ends a task whose execution cannot be started. No row: it went on
-- without us.
UPDATE codex_tasks
SET status = CASE WHEN cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
    updated_by = @updated_by, failure_class = @failure_class, failure_reason = @failure_reason
WHERE id = @task_id AND status = 'launching' AND attempt = @attempt
RETURNING *;
