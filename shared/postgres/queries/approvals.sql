-- name: LockApproval :one
-- LockApproval reads an approval and holds its row until the transaction ends.
SELECT * FROM codex_approvals WHERE id = @id AND task_id = @task_id FOR UPDATE;

-- name: DecideApproval :one
-- DecideApproval notes a decision; the caller holds the row.
UPDATE codex_approvals SET decision = @decision::text, decided_by = @decided_by::text, decided_at = now(), comment = sqlc.narg(comment)
WHERE id = @id RETURNING *;

-- name: ReleaseTask :exec
-- ReleaseTask lets a task wait for a slot once everything that it waited for is
-- approved; until then it changes nothing.
UPDATE codex_tasks t SET status = 'queued', updated_by = @updated_by
WHERE t.id = @id AND t.status = 'awaiting_approval'
  AND NOT EXISTS (SELECT FROM codex_approvals a WHERE a.task_id = @id AND a.decision IS DISTINCT FROM 'approved');

-- name: ListApprovals :many
-- ListApprovals lists what a task waits or waited for, oldest first.
SELECT * FROM codex_approvals WHERE task_id = @task_id ORDER BY requested_at, id LIMIT @max_rows;
