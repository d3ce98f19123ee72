-- name: GetBeforeManifests :one
-- GetBeforeManifests reads the resources as they were before the task.
SELECT manifests FROM codex_task_snapshots
WHERE task_id = $1 AND type = 'before' AND manifests IS NOT NULL
ORDER BY created_at LIMIT 1;

-- name: GetAfterSnapshot :one
-- GetAfterSnapshot reads what the attempt reported last of the state it left.
SELECT manifests, diff FROM codex_task_snapshots
WHERE task_id = $1 AND attempt = $2 AND type = 'after'
ORDER BY event_sequence DESC NULLS FIRST LIMIT 1;
