-- name: InsertToken :exec
INSERT INTO codex_task_tokens (token_hash, task_id, issued_to)
VALUES (@token_hash, @task_id, @issued_to);

-- name: FindToken :one
-- FindToken tells whose token it is and whether that task has ended, with
-- which the token died.
SELECT t.token_hash, t.task_id,
       (k.status IN ('succeeded', 'failed', 'cancelled', 'timed_out'))::boolean AS ended
FROM codex_task_tokens t JOIN codex_tasks k ON k.id = t.task_id
WHERE t.token_hash = $1;
