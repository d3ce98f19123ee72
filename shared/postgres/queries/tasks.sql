-- name: GetTask :one
SELECT * FROM codex_tasks WHERE id = $1;

-- name: LockTask :one
-- LockTask reads a task and holds its row until the transaction ends, so that
-- what is decided from the row is still true when it is written.
SELECT * FROM codex_tasks WHERE id = $1 FOR UPDATE;
