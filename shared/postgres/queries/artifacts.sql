-- name: ListPendingArtifacts :many
-- ListPendingArtifacts lists artifacts whose upload was not checked yet.
SELECT * FROM codex_task_artifacts WHERE task_id = $1 AND status = 'pending' ORDER BY event_sequence;

-- name: SettleArtifact :exec
UPDATE codex_task_artifacts
SET status = @status, status_reason = @status_reason,
    verified_at = CASE WHEN @status = 'verified' THEN now() END
WHERE id = @id AND status = 'pending';

-- name: CountArtifacts :one
-- CountArtifacts counts the task's artifacts that were verified.
SELECT count(*) FROM codex_task_artifacts WHERE task_id = $1 AND status = 'verified';
