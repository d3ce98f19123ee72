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
