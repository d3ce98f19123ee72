-- name: InsertUndo :one
INSERT INTO codex_undos (id, task_id, requested_by, dry_run) VALUES (@id, @task_id, @requested_by, @dry_run) RETURNING *;

-- name: GetUndo :one
SELECT * FROM codex_undos WHERE id = $1;

-- name: FinishUndo :exec
-- FinishUndo notes what became of a request, once.
UPDATE codex_undos SET status = @status, result = @result, finished_at = now()
WHERE id = @id AND status = 'requested';

-- name: ListUndos :many
-- ListUndos lists the requests to take a task back, oldest first.
SELECT * FROM codex_undos WHERE task_id = @task_id ORDER BY requested_at, id LIMIT @max_rows;

-- name: ListForgottenUndos :many
-- ListForgottenUndos lists requests that nobody has carried out for a while,
-- oldest first.
SELECT u.id, u.task_id, u.requested_by, u.dry_run, t.trace_parent
FROM codex_undos u JOIN codex_tasks t ON t.id = u.task_id
WHERE u.status = 'requested' AND u.requested_at < now() - @min_age::interval
ORDER BY u.requested_at, u.id LIMIT @max_rows;
