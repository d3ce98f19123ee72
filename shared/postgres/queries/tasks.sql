-- name: GetTask :one
SELECT * FROM codex_tasks WHERE id = $1;

-- name: LockTask :one
-- LockTask reads a task and holds its row until the transaction ends, so that
-- what is decided from the row is still true when it is written.
SELECT * FROM codex_tasks WHERE id = $1 FOR UPDATE;

-- name: ListQueued :many
-- ListQueued lists the tasks that may start now, those after an id: a page.
SELECT id, caller, namespaces, priority, attempt, created_at FROM codex_tasks
WHERE status = 'queued' AND (not_before IS NULL OR not_before <= now()) AND id > @after
ORDER BY id LIMIT @max_rows;

-- name: ListHolding :many
-- ListHolding lists the tasks that hold a slot, and those that are launching,
-- which may have lost theirs.
SELECT t.id, t.caller, t.namespaces, t.priority, t.attempt, t.created_at, t.timeout_seconds, t.deadline_at,
       t.status, a.slot_until
FROM codex_tasks t LEFT JOIN codex_task_attempts a ON a.task_id = t.id AND a.attempt = t.attempt
WHERE t.status IN ('launching', 'running', 'finalizing');

-- name: ListStaleLaunches :many
-- ListStaleLaunches lists launches that nobody seems to be carrying on, those
-- after an id: a page.
SELECT id, attempt FROM codex_tasks
WHERE status = 'launching' AND launching_at < now() - @min_age::interval AND id > @after
ORDER BY id LIMIT @max_rows;

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

-- name: BeginFinalizing :one
-- BeginFinalizing takes up the end of an attempt's execution and notes it. No
-- row: it is not the task's present attempt, or somebody has taken it up.
WITH task AS (
    UPDATE codex_tasks SET status = 'finalizing', updated_by = @updated_by
    WHERE codex_tasks.id = @task_id AND codex_tasks.attempt = @attempt AND codex_tasks.status IN ('launching', 'running')
    RETURNING codex_tasks.*
), noted AS (
    UPDATE codex_task_attempts a SET execution_end = @execution_end
    FROM task WHERE a.task_id = task.id AND a.attempt = task.attempt
)
SELECT task.* FROM task;

-- name: EndTask :one
-- EndTask gives a task its final status. No row: somebody else did.
UPDATE codex_tasks
SET status = @status, updated_by = @updated_by, diff_digest = @diff_digest, diff_unified = @diff_unified,
    diff_summary = @diff_summary, failure_class = @failure_class, failure_reason = @failure_reason
WHERE id = @task_id AND attempt = @attempt AND status = 'finalizing'
RETURNING *;

-- name: RequeueTask :one
-- RequeueTask lets a task wait for another attempt. No row: somebody else went on.
UPDATE codex_tasks
SET status = 'queued', updated_by = @updated_by, not_before = @not_before,
    failure_class = @failure_class, failure_reason = @failure_reason
WHERE id = @task_id AND attempt = @attempt AND status = 'finalizing'
RETURNING id;

-- name: ListStaleFinalizing :many
-- ListStaleFinalizing lists tasks whose end nobody seems to be taking care of,
-- those after an id: a page.
SELECT t.id, t.attempt, EXISTS (
    SELECT FROM codex_task_artifacts f WHERE f.task_id = t.id AND f.status = 'pending') AS needs_storage
FROM codex_tasks t
WHERE t.status = 'finalizing' AND t.finalizing_at < now() - @min_age::interval AND t.id > @after
ORDER BY t.id LIMIT @max_rows;

-- name: ListUnobserved :many
-- ListUnobserved lists tasks that should have an execution, for comparison with
-- what the cluster has: those after an id, a page.
SELECT t.id, t.attempt, t.status, t.deadline_at, t.cancel_requested_at, t.cancel_requested_by, t.trace_parent,
       a.execution_kind, a.execution_name, a.execution_namespace, a.execution_uid
FROM codex_tasks t JOIN codex_task_attempts a ON a.task_id = t.id AND a.attempt = t.attempt
WHERE t.status = 'running' AND t.started_at < now() - @min_age::interval AND t.id > @after
ORDER BY t.id LIMIT @max_rows;

-- name: CountDue :one
-- CountDue counts, up to a bound, queued tasks that might start and launches
-- that were cut off.
SELECT count(*) FROM (
    SELECT FROM codex_tasks
    WHERE (status = 'queued' AND queued_at < now() - @queued_age::interval
           AND (not_before IS NULL OR not_before <= now()))
       OR (status = 'launching' AND launching_at < now() - @launching_age::interval)
    LIMIT 1000) AS due;

-- name: ListOver :many
-- ListOver tells which of the attempts are over, of tasks that there are: what still
-- runs for them is not to.
SELECT h.attempt_id::text AS attempt_id
FROM (SELECT unnest(@attempt_ids::text[]) AS attempt_id, unnest(@task_ids::uuid[]) AS task_id,
             unnest(@attempts::smallint[]) AS attempt) AS h
JOIN codex_tasks t ON t.id = h.task_id
WHERE t.attempt > h.attempt OR t.status NOT IN ('launching', 'running', 'finalizing');

-- name: ListEnded :many
-- ListEnded tells which of the attempts hold no slot any more, because their
-- task ended, waits, or is at a later attempt.
SELECT h.attempt_id::text AS attempt_id
FROM (SELECT unnest(@attempt_ids::text[]) AS attempt_id, unnest(@task_ids::uuid[]) AS task_id,
             unnest(@attempts::smallint[]) AS attempt) AS h
LEFT JOIN codex_tasks t ON t.id = h.task_id
WHERE t.id IS NULL OR t.attempt > h.attempt
   OR (t.attempt = h.attempt AND t.status NOT IN ('launching', 'running', 'finalizing'))
   OR (t.attempt < h.attempt AND t.status <> 'queued');
