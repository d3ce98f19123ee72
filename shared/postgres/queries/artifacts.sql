-- name: ListPendingArtifacts :many
-- ListPendingArtifacts lists artifacts whose upload was not checked yet.
SELECT * FROM codex_task_artifacts WHERE task_id = $1 AND status = 'pending' ORDER BY event_sequence;

-- name: GetUpload :one
-- GetUpload finds an artifact that an agent announced, and tells how its task stands.
SELECT sqlc.embed(a), t.status AS task_status, (t.finished_at IS NOT NULL)::boolean AS task_ended
FROM codex_task_artifacts a JOIN codex_tasks t ON t.id = a.task_id
WHERE a.id = @id AND a.task_id = @task_id AND a.source = 'agent';

-- name: SettleArtifact :exec
UPDATE codex_task_artifacts
SET status = @status, status_reason = @status_reason,
    verified_at = CASE WHEN @status = 'verified' THEN now() END
WHERE id = @id AND status = 'pending';

-- name: CountArtifacts :one
-- CountArtifacts counts the task's artifacts that were verified.
SELECT count(*) FROM codex_task_artifacts WHERE task_id = $1 AND status = 'verified';

-- name: HasLog :one
-- HasLog tells whether an attempt's log is kept.
SELECT EXISTS (SELECT FROM codex_task_artifacts WHERE task_id = @task_id AND attempt = @attempt::smallint AND source = 'graf');

-- name: InsertLog :execrows
-- InsertLog notes that an attempt's log is kept, unless one is already.
INSERT INTO codex_task_artifacts
    (id, task_id, attempt, source, name, content_type, size_bytes, sha256, object_key, status, verified_at)
VALUES (@id, @task_id, @attempt::smallint, 'graf', @name, @content_type, @size_bytes, @sha256, @object_key, 'verified', now())
ON CONFLICT (task_id, attempt) WHERE source = 'graf' DO NOTHING;
