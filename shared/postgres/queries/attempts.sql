-- name: BeginAttempt :one
-- BeginAttempt moves a queued task to launching and stores what its next
-- attempt is given: prompt, memories, the container's token. No row: the task
-- is not queued, or not for this attempt.
WITH task AS (
    UPDATE codex_tasks
    SET status = 'launching', updated_by = @updated_by, attempt = @attempt::smallint, not_before = NULL,
        failure_class = NULL, failure_reason = NULL, deadline_at = NULL
    WHERE id = @task_id AND status = 'queued' AND codex_tasks.attempt + 1 = @attempt::smallint
    RETURNING id, codex_tasks.attempt
), attempt AS (
    INSERT INTO codex_task_attempts (task_id, attempt, prompt, recall_mode, recall_reason)
    SELECT id, task.attempt, @prompt, @recall_mode, @recall_reason FROM task
), token AS (
    INSERT INTO codex_task_tokens (token_hash, task_id, issued_to)
    SELECT @token_hash, id, 'attempt ' || task.attempt FROM task
), recalls AS (
    INSERT INTO codex_task_recalls (task_id, attempt, rank, memory_id, score)
    SELECT task.id, task.attempt, r.rank, r.memory_id, r.score
    FROM task, (SELECT unnest(@ranks::smallint[]) AS rank, unnest(@memory_ids::uuid[]) AS memory_id,
                       unnest(@scores::real[]) AS score) AS r
)
SELECT id FROM task;

-- name: GetAttempt :one
SELECT * FROM codex_task_attempts WHERE task_id = $1 AND attempt = $2;

-- name: ListAttempts :many
SELECT * FROM codex_task_attempts WHERE task_id = $1 ORDER BY attempt;

-- name: CountRecalls :one
SELECT count(*) FROM codex_task_recalls WHERE task_id = $1 AND attempt = $2;

-- name: CountLaunchFailure :one
UPDATE codex_task_attempts SET launch_failures = launch_failures + 1
WHERE task_id = $1 AND attempt = $2 RETURNING launch_failures;

-- name: NoteSlot :exec
-- NoteSlot notes until when an attempt holds its slot before it has an
-- execution; NULL: it holds none.
UPDATE codex_task_attempts SET slot_until = @slot_until WHERE task_id = @task_id AND attempt = @attempt;

-- name: NoteExecutionEnd :exec
UPDATE codex_task_attempts SET execution_end = @execution_end WHERE task_id = @task_id AND attempt = @attempt;

-- name: FailAttempt :exec
UPDATE codex_task_attempts
SET failure_class = @failure_class, failure_reason = @failure_reason, exit_code = @exit_code, finished_at = now()
WHERE task_id = @task_id AND attempt = @attempt;

-- name: EndAttempt :exec
-- EndAttempt notes how an attempt's execution ended, and which one it was if
-- it ended before launch could say so.
UPDATE codex_task_attempts
SET finished_at = now(), exit_code = @exit_code, failure_class = @failure_class, failure_reason = @failure_reason,
    started_at = coalesce(started_at, launched_at),
    execution_kind = coalesce(execution_kind, @kind), execution_name = coalesce(execution_name, @name),
    execution_namespace = coalesce(execution_namespace, @namespace), execution_uid = coalesce(execution_uid, @uid)
WHERE task_id = @task_id AND attempt = @attempt;

-- name: ListFailures :many
-- ListFailures lists how the attempts of a task failed, oldest first.
SELECT attempt, coalesce(failure_class, '')::text AS failure_class, coalesce(failure_reason, '')::text AS failure_reason
FROM codex_task_attempts WHERE task_id = $1 AND failure_class IS NOT NULL ORDER BY attempt;
